// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/histogram.hh>

namespace {

std::uint64_t exact_percentile(const std::vector<std::uint64_t>& sorted, double percent) {
    const double size = static_cast<double>(sorted.size());
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100.0 * size));
    return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

// Values of every magnitude: a random number of low bits of a random word.
std::uint64_t any_magnitude(std::mt19937_64& random, unsigned most_bits) {
    const unsigned bits = 1 + static_cast<unsigned>(random() % most_bits);
    return random() >> (64 - bits);
}

void check_equal(const weir::histogram_data& a, const weir::histogram_data& b) {
    CHECK(a.count == b.count);
    CHECK(a.sum == b.sum);
    CHECK(a.minimum == b.minimum);
    CHECK(a.maximum == b.maximum);
    REQUIRE(a.buckets.size() == b.buckets.size());
    for (std::size_t i = 0; i < a.buckets.size(); ++i) {
        CHECK(a.buckets[i].index == b.buckets[i].index);
        CHECK(a.buckets[i].count == b.buckets[i].count);
    }
}

}  // namespace

TEST_SUITE("core/histogram") {
    TEST_CASE("an empty histogram answers zero to every question") {
        const weir::histogram empty;
        CHECK(empty.count() == 0);
        CHECK(empty.minimum() == 0);
        CHECK(empty.maximum() == 0);
        CHECK(empty.mean() == 0.0);
        CHECK(empty.percentile(99) == 0);
        CHECK(empty.data().buckets.empty());
    }

    TEST_CASE("buckets join without a gap or an overlap") {
        std::uint64_t next = 0;
        for (std::size_t i = 0; i < weir::histogram::bucket_count; ++i) {
            REQUIRE(weir::histogram::index_of(next) == i);
            REQUIRE(weir::histogram::index_of(weir::histogram::highest_in(i)) == i);
            next = weir::histogram::highest_in(i) + 1;
        }
        CHECK(next - 1 == weir::histogram::highest_tracked);
        CHECK(weir::histogram::index_of(UINT64_MAX) == weir::histogram::bucket_count - 1);
    }

    TEST_CASE("percentiles are never below an exact sort and at most 1/64 above it") {
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            weir::histogram measured;
            std::vector<std::uint64_t> values(1 + random() % 3000);
            for (std::uint64_t& value : values) {
                value = any_magnitude(random, 48);
                measured.record(value);
            }
            std::sort(values.begin(), values.end());
            CHECK(measured.minimum() == values.front());
            CHECK(measured.maximum() == values.back());
            CHECK(measured.percentile(100) == values.back());
            for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
                CAPTURE(percent);
                const std::uint64_t exact = exact_percentile(values, percent);
                CHECK(measured.percentile(percent) >= exact);
                CHECK(measured.percentile(percent) <= exact + exact / 64);
            }
        }
    }

    TEST_CASE("small values are exact") {
        weir::histogram measured;
        for (std::uint64_t value = 1; value <= 100; ++value) {
            measured.record(value);
        }
        CHECK(measured.percentile(50) == 50);
        CHECK(measured.percentile(99) == 99);
        CHECK(measured.mean() == doctest::Approx(50.5));
    }

    TEST_CASE("merging gives what recording into one would have given") {
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            CAPTURE(seed);
            std::mt19937_64 random(seed);
            weir::histogram parts[3];
            weir::histogram whole;
            for (unsigned i = 0; i < 2000; ++i) {
                const std::uint64_t value = any_magnitude(random, 48);
                parts[random() % 2].record(value);  // the third part stays empty
                whole.record(value);
            }
            for (weir::histogram& each : parts) {
                if (each.count() != 0) {
                    each.record(7);
                    whole.record(7);
                }
            }
            weir::histogram dense;
            weir::histogram from_data;
            weir::histogram_data sparse;
            for (const weir::histogram& each : parts) {
                dense.merge(each);
                from_data.merge(each.data());
                sparse.merge(each.data());
            }
            check_equal(dense.data(), whole.data());
            check_equal(from_data.data(), whole.data());
            check_equal(sparse, whole.data());
        }
    }

    TEST_CASE("values beyond the tracked range are counted, and their maximum is kept") {
        weir::histogram measured;
        measured.record(3);
        measured.record(UINT64_MAX / 2);
        CHECK(measured.count() == 2);
        CHECK(measured.maximum() == UINT64_MAX / 2);
        CHECK(measured.percentile(100) == UINT64_MAX / 2);
        CHECK(measured.percentile(50) == 3);
    }

    TEST_CASE("the count below a power of two is exact") {
        weir::histogram measured;
        std::mt19937_64 random(42);
        std::vector<std::uint64_t> values;
        for (unsigned i = 0; i < 5000; ++i) {
            values.push_back(any_magnitude(random, 40));
            measured.record(values.back());
        }
        const weir::histogram_data data = measured.data();
        for (unsigned exponent = 0; exponent < 64; ++exponent) {
            const auto expected = std::count_if(values.begin(), values.end(), [&](std::uint64_t v) {
                return v < (std::uint64_t{1} << exponent);
            });
            CHECK(data.count_below_power(exponent) == static_cast<std::uint64_t>(expected));
        }
    }
}
