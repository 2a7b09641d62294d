// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/net/message_budget.hh>

namespace weir::net::test {

using namespace std::chrono_literals;

namespace {

constexpr message_budget_options small{.bytes = 1000, .finish_bytes = 400, .whole_bytes = 100};

/// A message that comes in steps, and goes when it is complete and was looked at.
future<> come(message_budget& budget, std::size_t size, std::size_t step, std::size_t& done) {
    message_charge held;
    for (std::size_t have = 0; have < size;) {
        have = std::min(size, have + step);
        co_await budget.charge(held, have, size, have == size && step >= size);
        CHECK(held.bytes() == have);
        CHECK(budget.bytes_used() <= small.bytes);
        co_await sleep_for(duration(this_shard().random() % 100'000));
    }
    const message_charge moved = std::move(held);
    co_await sleep_for(duration(this_shard().random() % 1'000'000));
    ++done;
}

std::string refusal_of(const message_budget_options& options, std::size_t largest) {
    try {
        options.check(largest);
    } catch (const error& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_SUITE("net/message_budget") {
    TEST_CASE("whatever sizes and steps come together, all are finished and the limit holds") {
        on_simulator(
            [](host&) -> future<> {
                message_budget budget(small);
                std::vector<future<>> all;
                std::size_t done = 0;
                for (int i = 0; i < 200; ++i) {
                    const std::size_t size = 1 + this_shard().random() % 400;
                    all.push_back(come(budget, size, 1 + this_shard().random() % 200, done));
                }
                for (future<>& each : all) {
                    co_await std::move(each);
                }
                CHECK(done == 200);
                CHECK(budget.bytes_used() == 0);
                CHECK(budget.counters().finished > 0);
            },
            1, 50);
    }

    TEST_CASE("the one with least to come is finished first, then the next") {
        on_simulator([](host&) -> future<> {
            message_budget budget(small);
            // 500 are for anybody, and three hold them.
            message_charge other, far, near;
            co_await budget.charge(other, 250, 250, false);
            co_await budget.charge(far, 50, 400, false);
            co_await budget.charge(near, 200, 300, false);
            message_charge finisher;
            co_await budget.charge(finisher, 150, 150, false);
            auto of_far = budget.charge(far, 400, 400, false);
            auto of_near = budget.charge(near, 300, 300, false);
            CHECK((!of_far.available() && !of_near.available()));
            finisher.give_back();
            CHECK((!of_far.available() && of_near.available()));
            near.give_back();
            CHECK(of_far.available());
            co_await std::move(of_far);
            co_await std::move(of_near);
        });
    }

    TEST_CASE("as many are finished at once as can be with all that is to come of them") {
        on_simulator([](host&) -> future<> {
            message_budget budget(small);
            message_charge all;
            co_await budget.charge(all, 400, 400, false);
            std::vector<message_charge> several(4);
            for (std::size_t i = 0; i < 4; ++i) {
                co_await budget.charge(several[i], 25, 150, false);
            }
            std::vector<future<>> grown;
            for (message_charge& each : several) {
                grown.push_back(budget.charge(each, 75, 150, false));
            }
            // 125 are to come of each: three of them are 375 of 400.
            CHECK(std::ranges::count_if(grown, &future<>::available) == 3);
            co_await budget.charge(several[0], 150, 150, false);
            several[0].give_back();
            for (future<>& each : grown) {
                co_await std::move(each);
            }
            CHECK(budget.counters().finished == 4);
        });
    }

    TEST_CASE("a message above finish_bytes is refused, whatever is free") {
        on_simulator([](host&) -> future<> {
            message_budget budget(small);
            message_charge held;
            auto refused = budget.charge(held, 1, 401, false);
            REQUIRE(refused.failed());
            try {
                refused.take();
            } catch (const error& e) {
                CHECK(e.is(errc::limit_exceeded));
            }
            CHECK(budget.bytes_used() == 0);
            co_return;
        });
    }

    TEST_CASE("who goes while it waits leaves the line, and those behind have their turn") {
        on_simulator([](host&) -> future<> {
            message_budget budget(small);
            message_charge first, second, behind;
            co_await budget.charge(first, 400, 400, false);
            co_await budget.charge(second, 300, 300, false);  // with what is kept to finish
            {
                message_charge leaving;
                auto waiting = budget.charge(leaving, 350, 350, false);
                auto next = budget.charge(behind, 100, 100, false);
                CHECK(budget.waiting() == 2);
                leaving.give_back();
                co_await std::move(next);
                std::move(waiting).ignore();
            }
            CHECK(budget.waiting() == 0);
            CHECK(behind.bytes() == 100);
        });
    }

    TEST_CASE("options that don't hold together are refused with the reason") {
        CHECK(refusal_of(small, 400) == "");
        CHECK(refusal_of(small, 401).find("finish_bytes is less than one message") !=
              std::string::npos);
        CHECK(refusal_of({.bytes = 500, .finish_bytes = 400, .whole_bytes = 100}, 400)
                  .find("leaves nothing") != std::string::npos);
    }
}

}  // namespace weir::net::test
