// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/timer.hh>

using namespace weir;

namespace {

struct noting_timer final : timer {
    std::vector<int>* fired = nullptr;
    int name = 0;
    void fire() noexcept override { fired->push_back(name); }
};

}  // namespace

TEST_SUITE("core/time") {
    using namespace std::chrono_literals;

    TEST_CASE("no sum of times overflows: for ever from any instant is never") {
        for (const instant from : {instant(), instant(1h), instant(-1h), instant::min(), never}) {
            CHECK(from + duration::max() == never);
            CHECK(from + forever == never);
            CHECK(from + std::chrono::hours::max() == never);
            CHECK(std::chrono::seconds::max() + from == never);
        }
        CHECK(instant(1h) + (duration::max() - 1ns) == never);
        CHECK(instant(-1h) + duration::min() == instant::min());
        CHECK(never + -1ns == never);
        CHECK(instant(1h) + 1min == instant(61min));
        CHECK(instant(1h) + -2h == instant(-1h));
        CHECK(instant(1h) + std::chrono::hours(2) == instant(3h));
        static_assert(instant(1ns) + duration::max() == never);
    }
}

TEST_SUITE("core/timer") {
    TEST_CASE("random arms, moves and cancels fire what a sorted list would fire") {
        test::bare_shard shard;
        const unsigned seed = 20261121;
        CAPTURE(seed);
        std::mt19937 random(seed);
        std::vector<int> fired;
        std::vector<std::unique_ptr<noting_timer>> timers;
        for (int name = 0; name < 200; ++name) {
            timers.push_back(std::make_unique<noting_timer>());
            timers.back()->fired = &fired;
            timers.back()->name = name;
        }
        std::vector<long> due(timers.size(), -1);  // -1: not armed
        long now = 0;
        for (int step = 0; step < 20000; ++step) {
            const std::size_t which = random() % timers.size();
            switch (random() % 4) {
                case 0:
                case 1:
                    due[which] = now + 1 + static_cast<long>(random() % 50);
                    timers[which]->arm(instant(duration(due[which])));
                    break;
                case 2:
                    CHECK(timers[which]->cancel() == (due[which] >= 0));
                    due[which] = -1;
                    break;
                default: {
                    now += static_cast<long>(random() % 3);
                    fired.clear();
                    this_shard().timers().expire(instant(duration(now)));
                    std::vector<int> expected;
                    for (std::size_t i = 0; i < due.size(); ++i) {
                        if (due[i] >= 0 && due[i] <= now) {
                            expected.push_back(static_cast<int>(i));
                            due[i] = -1;
                        }
                    }
                    std::sort(fired.begin(), fired.end());
                    REQUIRE(fired == expected);
                }
            }
            const auto next = std::min_element(due.begin(), due.end(), [](long a, long b) {
                return static_cast<unsigned long>(a) < static_cast<unsigned long>(b);
            });
            REQUIRE(this_shard().timers().next_due() ==
                    (*next < 0 ? never : instant(duration(*next))));
        }
    }
}
