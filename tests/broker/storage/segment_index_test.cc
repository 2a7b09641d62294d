// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment_index.hh>
#include <doctest/doctest.h>

#include "bed.hh"

namespace weir::broker {

namespace {

struct placed_batch {
    std::vector<std::byte> bytes;
    std::uint64_t position;

    protocol::batch_view view() const { return protocol::batch_view(bytes); }
};

/// Batches one behind the other, with seeded sizes and times that jump back and forth.
std::vector<placed_batch> some_batches(std::int64_t base_offset, std::uint64_t seed) {
    std::vector<placed_batch> batches;
    std::uint64_t position = 0;
    for (int i = 0; i < 200; ++i) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        auto bytes = storage_test::batch_of(0, 1 + (seed >> 40) % 5, 8 + (seed >> 48) % 300,
                                            1000 + i * 10 - (seed >> 33) % 100);
        protocol::patch_base_offset(bytes, base_offset);
        base_offset = protocol::batch_view(bytes).next_offset();
        batches.push_back({std::move(bytes), position});
        position += batches.back().bytes.size();
    }
    return batches;
}

void check_lookups(const segment_index& index, const std::vector<placed_batch>& batches) {
    for (const placed_batch& each : batches) {
        for (std::int64_t o = each.view().base_offset(); o <= each.view().last_offset(); ++o) {
            CHECK(index.place_before(o).position <= each.position);
        }
        // Whatever ends before the offset told is older.
        const std::int64_t time = each.view().max_timestamp();
        const std::int64_t from = index.offset_before(time);
        for (const placed_batch& other : batches) {
            CHECK((other.view().last_offset() >= from || other.view().max_timestamp() < time));
        }
    }
}

}  // namespace

TEST_SUITE("broker/storage/segment_index") {
    TEST_CASE("what room was made for needs no memory, also when more is put before it") {
        storage_test::bed on(61);
        on.run([]() -> future<> {
            const auto batches = some_batches(0, 7);
            segment_index earlier(0, 256);
            std::size_t i = 0;
            for (; i < 100; ++i) {
                earlier.add(batches[i].view(), batches[i].position);
            }
            segment_index index(0, 256);
            index.begin_at(batches[i].position, batches[i].view().base_offset());
            index.reserve(batches.back().position + batches.back().bytes.size() -
                          batches[i].position);
            index.put_before(std::move(earlier));
            io::sim::memory::fail(0, 1000);
            for (; i < batches.size(); ++i) {
                index.add(batches[i].view(), batches[i].position);
            }
            CHECK(io::sim::memory::stop_failing() == 0);
            check_lookups(index, batches);
            return make_ready_future();
        });
    }

    TEST_CASE("a lookup never leads behind what it seeks, before and after thinning and storing") {
        for (std::uint64_t seed = 1; seed <= 5; ++seed) {
            CAPTURE(seed);
            const auto batches = some_batches(5000, seed);
            segment_index index(5000, 700);
            for (const placed_batch& each : batches) {
                index.add(each.view(), each.position);
            }
            check_lookups(index, batches);
            CHECK(index.place_before(batches.back().view().last_offset()).position > 0);
            index.finish();
            check_lookups(index, batches);
            CHECK(index.last()->position == batches.back().position);
            CHECK(index.last()->last_offset == batches.back().view().last_offset());

            segment_index stored(5000, 700);
            REQUIRE(stored.decode(index.encode_offsets(), index.encode_times()));
            CHECK(stored.encode_offsets() == index.encode_offsets());
            CHECK(stored.encode_times() == index.encode_times());
            CHECK(stored.max_timestamp() == index.max_timestamp());
            stored.thin(5);
            CHECK(stored.entries() == 5);
            CHECK(stored.last()->position == batches.back().position);
            check_lookups(stored, batches);
        }
    }

    TEST_CASE("however many batches come, there are at most twice as many entries as it may have") {
        const auto batches = some_batches(0, 3);
        segment_index index(0, 100, 10);
        for (const placed_batch& each : batches) {
            index.add(each.view(), each.position);
            CHECK(index.entries() <= 20);
        }
        CHECK(index.entries() >= 10);
        check_lookups(index, batches);
        CHECK(index.place_before(batches.back().view().last_offset()).position > 0);
        index.finish();
        segment_index stored(0, 100, 10);
        REQUIRE(stored.decode(index.encode_offsets(), index.encode_times()));
        check_lookups(stored, batches);
        CHECK(stored.max_timestamp() == index.max_timestamp());
        CHECK(stored.last()->position == batches.back().position);
    }

    TEST_CASE("of the last entries alone the end is known, and look-ups lead to the start") {
        const auto batches = some_batches(5000, 4);
        segment_index index(5000, 700);
        for (const placed_batch& each : batches) {
            index.add(each.view(), each.position);
        }
        index.finish();
        const auto offsets = index.encode_offsets();
        const auto times = index.encode_times();
        segment_index end(5000, 700);
        REQUIRE(end.decode_last(std::span(offsets).last(segment_index::offset_entry_bytes),
                                std::span(times).last(segment_index::time_entry_bytes)));
        CHECK(end.bytes() == 0);
        CHECK(end.last()->position == index.last()->position);
        CHECK(end.last()->last_offset == index.last()->last_offset);
        CHECK(end.max_timestamp() == index.max_timestamp());
        check_lookups(end, batches);
    }

    TEST_CASE("an entry is made where more than the interval lies before") {
        const auto batches = some_batches(0, 9);
        segment_index index(0, 4096);
        std::uint64_t since = 0;
        std::vector<std::byte> expected;
        for (const placed_batch& each : batches) {
            index.add(each.view(), each.position);
            if (since > 4096) {
                expected.resize(expected.size() + 8);
                protocol::store_big(expected.data() + expected.size() - 8,
                                    static_cast<std::int32_t>(each.view().last_offset()));
                protocol::store_big(expected.data() + expected.size() - 4,
                                    static_cast<std::int32_t>(each.position));
                since = 0;
            }
            since += each.bytes.size();
        }
        CHECK(!expected.empty());
        CHECK(index.encode_offsets() == expected);
    }

    TEST_CASE("bytes that can't be an index are refused") {
        const auto batches = some_batches(0, 3);
        segment_index index(0, 700);
        for (const placed_batch& each : batches) {
            index.add(each.view(), each.position);
        }
        index.finish();
        const auto offsets = index.encode_offsets();
        const auto times = index.encode_times();
        segment_index read(0, 700);
        CHECK(read.decode({}, {}));
        CHECK_FALSE(read.last());
        CHECK_FALSE(read.decode(std::span(offsets).first(7), times));
        CHECK_FALSE(read.decode(offsets, std::span(times).first(11)));
        auto swapped = offsets;
        std::swap_ranges(swapped.begin(), swapped.begin() + 8, swapped.begin() + 8);
        CHECK_FALSE(read.decode(swapped, times));
        auto late = times;
        std::swap_ranges(late.begin(), late.begin() + 12, late.begin() + 12);
        CHECK_FALSE(read.decode(offsets, late));
        CHECK_FALSE(read.decode({}, times));
    }

    TEST_CASE("a segment without batches has no last one") {
        segment_index index(7, 100);
        index.finish();
        CHECK_FALSE(index.last());
        CHECK(index.encode_offsets().empty());
        CHECK(index.place_before(7).position == 0);
        CHECK(index.offset_before(0) == 7);
        CHECK(index.max_timestamp() == -1);
    }
}

}  // namespace weir::broker
