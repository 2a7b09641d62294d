// SPDX-License-Identifier: Apache-2.0
// Once it is warm, a pipeline allocates nothing: operator new of the whole process is counted. On
// threads only, since the simulator has an operator new of its own.
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/allocation");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;
using weir::host;

// See tests/bench/count_allocations.cc, which counts.
extern "C" std::uint64_t weir_bench_allocations();

namespace {

constexpr std::int64_t length = 20'000;

struct marks {
    std::atomic<std::uint64_t> when_warm{0};
    std::uint64_t at_end = 0;
    std::int64_t elements = 0;
};

/// Numbers; the count is taken when half of them were given.
auto numbers(marks& noted) {
    return generate([&noted, next = std::int64_t{0}]() mutable -> std::optional<std::int64_t> {
        if (next == length / 2) {
            noted.when_warm = weir_bench_allocations();
        }
        return next < length ? std::optional(next++) : std::nullopt;
    });
}

/// Runs the pipeline in several ways; the last element is noted.
template <combinator P>
void allocates_nothing(const P& p, std::int64_t expected = length) {
    for (const unsigned shards : {1, 3}) {
        for (const unsigned polls : {0, 200}) {
            for (const bool fuse : {false, true}) {
                marks noted;
                const auto count = for_each([&noted, expected](const auto&) {
                    if (++noted.elements == expected) {
                        noted.at_end = weir_bench_allocations();
                    }
                });
                const deploy_options options{
                    .capacity = 64, .batch = 16, .polls = polls, .fuse = fuse};
                weir::test::on_kernel(
                    [&](host&) -> future<> { co_await run(numbers(noted) >> p >> count, options); },
                    shards);
                INFO(shards, " shards, ", polls, " polls, fuse ", fuse);
                CHECK(noted.elements == expected);
                CHECK(noted.at_end - noted.when_warm == 0);
            }
        }
    }
}

constexpr auto plus_one = [](const std::int64_t& each) { return each + 1; };
constexpr auto sum_up = [](const auto& pair) { return pair.first + pair.second; };

}  // namespace

TEST_CASE("what is counted is counted") {
    const std::uint64_t before = weir_bench_allocations();
    CHECK(*std::make_unique<int>(5) == 5);
    CHECK(weir_bench_allocations() > before);
}

TEST_CASE("stages one after the other allocate nothing once they are warm") {
    allocates_nothing(map(plus_one) >> id() >> map(plus_one) >>
                      fold(0, [](int& n, const auto&) { return n++; }));
}

TEST_CASE("fanouts and pairs allocate nothing once they are warm") {
    allocates_nothing(fanout(map(plus_one), fanout(id(), map(plus_one))) >>
                      both(map(plus_one), map(sum_up)) >> map(sum_up));
}

TEST_CASE("copies allocate nothing once they are warm") {
    allocates_nothing(shard<2>(map(plus_one)) >> shard<3>(shard<2>(map(plus_one)), 4));
    allocates_nothing(shard_by<3>([](const std::int64_t& each) { return std::size_t(each) / 5; },
                                  fold(0, [](int& n, const std::int64_t& each) {
                                      ++n;
                                      return each;
                                  })));
}

TEST_CASE("choices allocate nothing once they are warm") {
    const auto split = map([](const std::int64_t& each) {
        return each % 3 == 0 ? either<std::int64_t, int>(std::in_place_index<0>, each)
                             : either<std::int64_t, int>(std::in_place_index<1>, int(each));
    });
    const auto widen = map([](const int& each) { return std::int64_t(each); });
    allocates_nothing(split >> choose(map(plus_one), id()) >> merge(id(), widen));
}

TEST_CASE("loops allocate nothing once they are warm") {
    allocates_nothing(loop(std::vector<std::int64_t>{1, 2, 3}, map([](const auto& pair) {
                               return std::pair(pair.first + pair.second, pair.second % 7);
                           })));
}

TEST_CASE("filters and flat maps of views allocate nothing once they are warm") {
    allocates_nothing(
        filter([](const std::int64_t& each) { return each % 2 == 0; }) >>
        flat_map([](const std::int64_t& each) { return std::views::iota(each, each + 2); }));
}

// AddressSanitizer sees each block: there the pool keeps none.
#if !defined(__has_feature) || !__has_feature(address_sanitizer)
TEST_CASE("futures allocate nothing once they are warm: their frames go round") {
    const auto later = [](const std::int64_t& each) -> future<std::int64_t> {
        const std::int64_t kept = each;
        co_await weir::yield();
        co_return kept;
    };
    allocates_nothing(map_async(8, later) >> map_unordered(4, later));
}
#endif
