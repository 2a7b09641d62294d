// SPDX-License-Identifier: Apache-2.0
// Calls between shards on real threads and rings.
#include <atomic>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/coroutine.hh>
#include <weir/core/sharded.hh>
#include <weir/core/sleep.hh>
#include <weir/io/run.hh>
#include <weir/io/system_clock.hh>

namespace weir::io {

namespace {

using namespace std::chrono_literals;

void run_two_shards(const application& program) {
    capturing_log_sink log;
    run_options options;
    options.placement.shards = 2;
    options.placement.allow_overcommit = true;
    options.pin = false;
    options.handle_signals = false;
    options.host.log = &log;
    CHECK(run(options, program) == 0);
}

future<> call_until(instant end, bool calls_back) {
    const shard_id here = this_shard().id();
    while (this_shard().now() < end) {
        co_await on(1 - here, [here, calls_back] {
            return calls_back ? on(here, [] {}) : make_ready_future();
        });
    }
}

/// Six hundred coroutines a shard, with default options: every second call is called back.
future<> call_back_for(duration time) {
    const instant end = this_shard().now() + time;
    co_await on_all([end]() -> future<> {
        std::vector<future<>> callers;
        for (int i = 0; i < 600; ++i) {
            callers.push_back(call_until(end, i % 2 == 0));
        }
        co_await when_all_succeed(std::move(callers));
    });
}

}  // namespace

TEST_SUITE("io/mesh") {
    TEST_CASE("two shards whose handlers call back run for a second") {
        run_two_shards([](host&) { return call_back_for(1s); });
    }

    // By name, with --no-skip.
    TEST_CASE("two shards whose handlers call back run for a minute" * doctest::skip()) {
        run_two_shards([](host&) { return call_back_for(60s); });
    }

    TEST_CASE("a sleeping shard hears calls while the task that made them still runs") {
        bool heard_meanwhile = false;
        run_two_shards([&heard_meanwhile](host& own) -> future<> {
            // The other shard sleeps, as far as that can be seen from here.
            co_await sleep_for(20ms);
            std::atomic<int> heard = 0;
            std::vector<future<>> calls;
            for (int i = 0; i < 40; ++i) {
                calls.push_back(on(1, [&heard] { ++heard; }));
            }
            // In the middle of its turn: it yields to nothing, and nothing of it is submitted.
            const instant patience_ends = monotonic_now() + 10s;
            while (heard == 0 && monotonic_now() < patience_ends) {
            }
            heard_meanwhile = heard != 0;
            co_await when_all_succeed(std::move(calls));
            CHECK(own.shard_count() == 2);
        });
        CHECK(heard_meanwhile);
    }
}

}  // namespace weir::io
