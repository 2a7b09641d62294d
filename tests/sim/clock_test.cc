// SPDX-License-Identifier: Apache-2.0
// A wall clock that jumps, as an administrator or NTP makes it jump: only what people read follows.
#include <algorithm>
#include <string>

#include <doctest/doctest.h>

#include <weir/core/abort.hh>
#include <weir/core/log.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/world.hh>

using namespace weir;
using namespace std::chrono_literals;
namespace sim = weir::io::sim;

namespace {

constexpr std::int64_t year_ms = 365LL * 24 * 3600 * 1000;

auto lines_with(const sim::sim_host& host, std::string_view text) {
    return std::count_if(host.log().begin(), host.log().end(), [text](const std::string& line) {
        return line.find(text) != std::string::npos;
    });
}

}  // namespace

TEST_SUITE("sim/clock") {
    TEST_CASE("a wall clock that jumps stops no timer and ends no wait") {
        sim::world world(1);
        auto& jumping = world.add_host("jumping", 1);
        duration shortest = forever;
        duration longest{};
        bool deadline_held = false;
        jumping.start([&](host&) -> future<> {
            const instant begun = this_shard().now();
            auto late = with_deadline(begun + 1500ms, sleep_for(1h));
            for (int i = 0; i < 20; ++i) {
                const instant before = this_shard().now();
                co_await sleep_for(100ms);
                shortest = std::min(shortest, this_shard().now() - before);
                longest = std::max(longest, this_shard().now() - before);
            }
            deadline_held = late.failed() && this_shard().now() - begun < 3s;
            std::move(late).ignore();
        });
        for (int i = 0; i < 40; ++i) {
            world.run_for(50ms);
            jumping.machine().clock().step_wall(i % 2 == 0 ? 3 * year_ms : -5 * year_ms);
        }
        CHECK(world.run_until([&] { return jumping.exited(); }, 10s));
        CHECK(jumping.failure() == "");
        CHECK(shortest >= 100ms);
        CHECK(longest < 200ms);
        CHECK(deadline_held);
    }

    TEST_CASE("a wall clock that jumps back does not silence the log, nor open it for a flood") {
        for (const std::int64_t jump : {-10 * year_ms, 10 * year_ms}) {
            sim::world world(1);
            auto& jumping = world.add_host("jumping", 1);
            jumping.start([&](host&) -> future<> {
                shard& own = this_shard();
                for (int second = 0; second < 3; ++second) {
                    for (int i = 0; i < 100; ++i) {
                        own.log().write(own.log_context(), log_level::info, "the level rises");
                    }
                    co_await sleep_for(1s);
                }
            });
            world.run_for(500ms);
            jumping.machine().clock().step_wall(jump);
            CHECK(world.run_until([&] { return jumping.exited(); }, 10s));
            const auto told = lines_with(jumping, "the level rises");
            CHECK(told >= 20 + 5);        // the first burst, and a second's worth after the jump
            CHECK(told <= 20 + 20 + 10);  // at most one burst more
        }
    }
}
