// SPDX-License-Identifier: Apache-2.0
// Elements that take long: what they give is seen at once, and their shard goes on beside them.
#include <numeric>
#include <optional>
#include <vector>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/scheduler.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/replay.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/slow");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using std::chrono::milliseconds;
using weir::duration;
using weir::future;
using weir::instant;
using weir::this_shard;

namespace {

/// On a host of two shards that nothing disturbs: instants are those of the stages. Tasks run in
/// line: where each takes a turn's whole time, one that is overtaken again and again waits for
/// ever.
void undisturbed(const weir::test::program& body) {
    weir::io::sim::world_options options_of_all;
    options_of_all.schedule.shuffles = false;
    weir::io::sim::explore(
        1, 4, [&](std::uint64_t) { return options_of_all; },
        [&](weir::io::sim::world& world) {
            weir::host_options options;
            options.shards = 2;
            auto& tested = world.add_host(options);
            tested.start(body);
            REQUIRE(world.run_until([&] { return tested.exited(); }, std::chrono::seconds(60)));
            REQUIRE(tested.failure() == "");
        });
}

/// Works, so that the clock of the simulator goes on.
void work_for(duration time) {
    const instant end = this_shard().outside().now() + time;
    while (this_shard().outside().now() < end) {
    }
}

/// A slow map of `in` with its results on another shard.
/// returns  when each result was seen
future<std::vector<instant>> seen_at(std::vector<duration> in, deploy_options options = {}) {
    std::vector<instant> seen;
    options.fuse = false;
    options.where.named = {{"list", 0}, {"map", 0}, {"for_each", 1}};
    co_await run(from_list(std::move(in)) >> map([](duration time) {
                     work_for(time);
                     return 1;
                 }) >>
                     for_each([&seen](int) { seen.push_back(this_shard().now()); }),
                 options);
    co_return seen;
}

}  // namespace

TEST_CASE("results of slow elements come one by one, each as soon as it is made") {
    undisturbed([](weir::host&) -> future<> {
        const auto seen = co_await seen_at(std::vector<duration>(12, milliseconds(3)));
        REQUIRE(seen.size() == 12);
        for (std::size_t i = 1; i < seen.size(); ++i) {
            CHECK(seen[i] - seen[i - 1] >= milliseconds(2));
        }
    });
}

TEST_CASE("a batch of elements that were quick stops where they become slow") {
    undisturbed([](weir::host&) -> future<> {
        std::vector<duration> in(5000, duration(0));
        in.resize(in.size() + 20, milliseconds(3));
        const auto seen = co_await seen_at(in);
        REQUIRE(seen.size() == in.size());
        std::size_t together = 0;
        for (std::size_t i = 5001; i < seen.size(); ++i) {
            together += seen[i] == seen[i - 1] ? 1 : 0;
        }
        CHECK(together <= 4);  // the first ones, before a batch is one element
    });
}

TEST_CASE("no part of a fused stage loses what it had no time for") {
    undisturbed([](weir::host&) -> future<> {
        constexpr int quick = 5000;
        // As pipes, which don't show their steps: the stage is a chain of kernels, not one loop.
        const weir::pipeline::pipe_of<int, int> before =
            describe<int>(map([](int i) { return i - 1; }));
        const weir::pipeline::pipe_of<int, int> slow = describe<int>(map([](int i) {
            work_for(i >= quick && i % 3 == 0 ? milliseconds(3) : duration(0));
            return i + 1;
        }));
        std::vector<int> in(quick + 40);
        std::iota(in.begin(), in.end(), 0);
        std::vector<int> found;
        co_await run(from_list(in) >> before >> slow >> before >> slow >> collect(found),
                     {.where = {.how = placement::policy::pack}});
        CHECK(found.size() == in.size());
        CHECK(found == in);
    });
}

TEST_CASE("timers of a shard are heard between two slow elements of its stages") {
    undisturbed([](weir::host&) -> future<> {
        const auto slow = co_await deploy(from_list(std::vector<int>(20, 1)) >> map([](int i) {
                                              work_for(milliseconds(3));
                                              return i;
                                          }) >>
                                              discard(),
                                          {.where = {.how = placement::policy::pack}});
        duration latest{};
        for (int i = 0; i < 10; ++i) {
            const instant due = this_shard().now() + milliseconds(1);
            co_await weir::sleep_until(due);
            latest = std::max(latest, this_shard().now() - due);
        }
        CHECK(latest < milliseconds(7));  // one element, and what is left of another
        co_await slow->join();
    });
}

TEST_SUITE_END();
