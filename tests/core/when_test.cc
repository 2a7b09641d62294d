// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/condition.hh>
#include <weir/core/loop.hh>
#include <weir/core/semaphore.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>

using namespace weir;

TEST_SUITE("core/when") {
    TEST_CASE("when_all gives back every future, however it ended") {
        test::bare_shard shard;
        promise<int> number;
        promise<> nothing;
        auto all = when_all(number.get_future(), nothing.get_future(),
                            make_ready_future<std::string>("there"));
        number.set_value(1);
        shard.settle();
        CHECK_FALSE(all.available());
        nothing.set_failure(std::make_exception_ptr(std::runtime_error("dry")));
        auto [one, two, three] = shard.wait(std::move(all));
        CHECK(one.take() == 1);
        CHECK_THROWS_WITH(two.take(), "dry");
        CHECK(three.take() == "there");
        CHECK(when_all(std::vector<future<int>>{}).take().empty());
    }

    TEST_CASE("when_all_succeed gives the values without the voids") {
        test::bare_shard shard;
        promise<std::unique_ptr<int>> late;
        auto all =
            when_all_succeed(make_ready_future<int>(1), make_ready_future(), late.get_future());
        late.set_value(std::make_unique<int>(2));
        auto [one, two] = shard.wait(std::move(all));
        CHECK(one + *two == 3);
        std::vector<future<int>> numbers;
        numbers.push_back(make_ready_future<int>(4));
        numbers.push_back(make_ready_future<int>(5));
        CHECK(when_all_succeed(std::move(numbers)).take() == std::vector<int>{4, 5});
        when_all_succeed(make_ready_future(), make_ready_future()).take();
        when_all_succeed(std::vector<future<>>{}).take();
    }

    TEST_CASE("when_all_succeed fails as the leftmost, only when all have ended") {
        test::bare_shard shard;
        promise<> slow;
        auto all = when_all_succeed(
            make_ready_future<int>(1), make_failed_future<int>(std::runtime_error("left")),
            slow.get_future(), make_failed_future<>(std::runtime_error("right")));
        shard.settle();
        CHECK_FALSE(all.available());
        slow.set_value();
        CHECK_THROWS_WITH(shard.wait(std::move(all)), "left");
    }

    TEST_CASE("when_any gives the first and leaves the others to go on") {
        test::bare_shard shard;
        promise<int> slow;
        promise<std::string> quick;
        auto any = when_any(slow.get_future(), quick.get_future());
        CHECK_FALSE(any.available());
        quick.set_value("quick");
        auto first = shard.wait(std::move(any));
        CHECK(first.index == 1);
        auto& [one, two] = first.futures;
        CHECK(two.take() == "quick");
        CHECK_FALSE(one.available());
        slow.set_value(9);
        CHECK(one.take() == 9);
    }

    TEST_CASE("when_any sees two that come in the same turn, and one that is there already") {
        test::bare_shard shard;
        std::vector<promise<int>> sources(3);
        std::vector<future<int>> futures;
        for (auto& each : sources) {
            futures.push_back(each.get_future());
        }
        auto any = when_any(std::move(futures));
        sources[2].set_value(2);
        sources[0].set_failure(std::make_exception_ptr(std::runtime_error("second")));
        auto first = shard.wait(std::move(any));
        CHECK(first.index == 2);
        CHECK(first.futures[0].failed());
        std::move(first.futures[0]).ignore();
        auto again = when_any(std::move(first.futures[1]), std::move(first.futures[2]));
        CHECK(again.available());
        CHECK(again.take().index == 1);
        shard.settle();
    }

    TEST_CASE("the sleeps that lost a when_any keep no timer, and who waited leaves the line") {
        using namespace std::chrono_literals;
        test::bare_shard shard;
        semaphore units(0);
        condition changed;
        for (int i = 0; i < 3; ++i) {
            promise<> quick;
            auto any =
                when_any(quick.get_future(), sleep_for(1h), units.acquire().then([](auto) {}),
                         changed.wait(), when_any(sleep_for(1h)).then([](auto) {}));
            quick.set_value();
            CHECK(shard.wait(std::move(any)).index == 0);
        }
        CHECK(changed.waiting() == 0);
        {
            auto dropped = when_any(sleep_for(1h), changed.wait());
            auto line = units.acquire();
        }
        CHECK(changed.waiting() == 0);
        CHECK(units.waiting() == 3);               // those have a continuation, which goes on
        CHECK(this_shard().timers().size() == 3);  // likewise
        units.release(3);
        shard.pass(1h);
        shard.settle();
    }

    TEST_CASE("who leaves the line lets those behind have their turn") {
        test::bare_shard shard;
        semaphore units(1);
        auto many = units.acquire(2);
        auto one = units.acquire(1);
        CHECK_FALSE(one.available());
        many = {};
        CHECK(one.available());
    }

    TEST_CASE("a promise that was used again after its future was ignored tells its failure") {
        test::bare_shard shard;
        promise<> again;
        again.get_future().ignore();
        again.set_value();
        {
            auto dropped = again.get_future();
        }
        again.set_failure(std::make_exception_ptr(std::runtime_error("unseen")));
        shard.ignored_expected = 1;
    }

    TEST_CASE("an unwanted when_any lets its futures go") {
        test::bare_shard shard;
        promise<int> source;
        {
            auto dropped = when_any(source.get_future());
        }
        source.set_value(1);
        shard.settle();
    }
}

TEST_SUITE("core/loop") {
    TEST_CASE("repeat, do_until and keep_doing end as they say") {
        test::bare_shard shard;
        int rounds = 0;
        shard.wait(repeat([&rounds]() -> future<stop_iteration> {
            co_await yield();
            co_return ++rounds == 3 ? stop_iteration::yes : stop_iteration::no;
        }));
        CHECK(rounds == 3);
        shard.wait(do_until([&rounds] { return rounds == 0; }, [&rounds] { --rounds; }));
        CHECK(rounds == 0);
        auto endless = keep_doing([&rounds] {
            if (++rounds == 5) {
                throw std::runtime_error("enough");
            }
        });
        CHECK_THROWS_WITH(shard.wait(std::move(endless)), "enough");
    }

    TEST_CASE("a loop over ready work lets others run when they ask") {
        test::bare_shard shard;
        bool other_ran = false;
        shard.outside.preempt_next = true;
        auto loop = do_until([&other_ran] { return other_ran; }, [] {});
        CHECK_FALSE(loop.available());
        auto other = [&]() -> future<> {
            co_await yield();
            other_ran = true;
        };
        shard.wait(other());
        shard.wait(std::move(loop));
    }

    TEST_CASE("parallel_for_each starts all, and fails as the first in order when all have ended") {
        test::bare_shard shard;
        std::vector<promise<>> gates(3);
        int started = 0;
        auto all = parallel_for_each(std::vector<int>{0, 1, 2}, [&](int i) {
            ++started;
            return gates[static_cast<std::size_t>(i)].get_future();
        });
        CHECK(started == 3);
        gates[2].set_failure(std::make_exception_ptr(std::runtime_error("third")));
        gates[1].set_failure(std::make_exception_ptr(std::runtime_error("second")));
        shard.settle();
        CHECK_FALSE(all.available());
        gates[0].set_value();
        CHECK_THROWS_WITH(shard.wait(std::move(all)), "second");
        shard.wait(parallel_for_each(std::vector<int>{1, 2}, [](int) {}));
    }

    TEST_CASE("max_concurrent_for_each has no more under way than it may") {
        test::bare_shard shard;
        std::size_t running = 0;
        std::size_t most = 0;
        std::size_t done = 0;
        shard.wait(max_concurrent_for_each(std::vector<int>(50), 4, [&](int) -> future<> {
            most = std::max(most, ++running);
            for (int i = 0; i < 3; ++i) {
                co_await yield();
            }
            --running;
            ++done;
        }));
        CHECK(most == 4);
        CHECK(done == 50);
        int calls = 0;
        auto failing =
            max_concurrent_for_each(std::vector<int>{1, 2, 3}, 2, [&](int i) -> future<> {
                ++calls;
                co_await yield();
                if (i != 3) {
                    throw std::runtime_error(std::to_string(i));
                }
            });
        CHECK_THROWS_WITH(shard.wait(std::move(failing)), "1");
        CHECK(calls == 3);
    }
}
