// SPDX-License-Identifier: Apache-2.0
// What a deployment costs that has nothing to do.
#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/idle");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using std::chrono::hours;
using std::chrono::milliseconds;
using weir::future;
using weir::test::on_both;

namespace {

future<std::uint64_t> runs_of(deployment& watched) {
    std::uint64_t runs = 0;
    for (const stage_sample& each : co_await watched.sample()) {
        runs += each.counted.runs;
    }
    co_return runs;
}

/// Once it has looked around as often as it wants, and looked once more.
future<std::uint64_t> settled_runs(deployment& watched) {
    std::uint64_t before = 0;
    std::uint64_t now = co_await runs_of(watched);
    while (now != before) {
        co_await weir::sleep_for(milliseconds(20));
        before = std::exchange(now, co_await runs_of(watched));
    }
    co_return now;
}

/// One element, and then nothing for as long as anybody waits.
auto silent() {
    return from_generator([](weir::abort_source& stop) -> generator<int> {
        co_yield 1;
        co_await weir::sleep_for(hours(1), stop);
    });
}

}  // namespace

TEST_CASE("calls and bells of others don't wake the stages of an idle deployment") {
    on_both(
        [](weir::host&) -> future<> {
            const auto idle = co_await deploy(silent() >> map([](int i) { return i + 1; }) >>
                                                  map([](int i) { return i * 2; }) >> discard(),
                                              {.fuse = false});
            const std::uint64_t before = co_await settled_runs(*idle);
            for (int i = 0; i < 300; ++i) {
                co_await weir::on(1, [] {});
            }
            CHECK(co_await runs_of(*idle) == before);
            co_await idle->stop();
            co_await idle->join();
        },
        2);
}

TEST_CASE("elements of one deployment wake no stage of another") {
    on_both(
        [](weir::host&) -> future<> {
            const auto idle = co_await deploy(
                silent() >> map([](int i) { return i + 1; }) >> discard(), {.fuse = false});
            const std::uint64_t before = co_await settled_runs(*idle);
            std::vector<int> out;
            co_await run(from_list(std::vector<int>(2000, 7)) >> map([](int i) { return i; }) >>
                             collect(out),
                         {.capacity = 2, .polls = 0, .fuse = false});
            CHECK(out.size() == 2000);
            CHECK(co_await runs_of(*idle) == before);
            co_await idle->stop();
            co_await idle->join();
        },
        2);
}

TEST_CASE("of several stages of a shard that wait each hears its news") {
    // Small rings and no polls: every element is waited for, by several stages of both shards.
    on_both(
        [](weir::host&) -> future<> {
            std::vector<int> in(500, 3);
            std::vector<std::pair<int, std::pair<int, int>>> out;
            co_await run(from_list(in) >> fanout(map([](int i) { return i; }),
                                                 fanout(map([](int i) { return i; }),
                                                        map([](int i) { return i; }))) >>
                             collect(out),
                         {.capacity = 1, .polls = 0, .fuse = false});
            CHECK(out.size() == in.size());
        },
        2);
}

TEST_SUITE_END();
