// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include <tests/support/bare_host.hh>

#include <weir/core/condition.hh>
#include <weir/core/scope.hh>
#include <weir/core/shared_future.hh>
#include <weir/core/sleep.hh>

using namespace weir;
using namespace std::chrono_literals;

TEST_SUITE("core/scope") {
    TEST_CASE("a scope ends when its body and all its children have ended") {
        test::bare_shard shard;
        promise<> slow;
        int ended = 0;
        auto result = with_scope([&](scope& own) {
            own.spawn([&]() -> future<> {
                co_await slow.get_future();
                own.spawn([&ended] { ++ended; });  // a child's child counts too
                ++ended;
            });
            own.spawn([&ended] { ++ended; });
            return 5;
        });
        shard.settle();
        CHECK_FALSE(result.available());
        slow.set_value();
        CHECK(shard.wait(std::move(result)) == 5);
        CHECK(ended == 3);
    }

    TEST_CASE("the first failure aborts the others and is the result") {
        test::bare_shard shard;
        int aborted = 0;
        auto result = with_scope([&aborted](scope& own) -> future<int> {
            for (int i = 0; i < 3; ++i) {
                own.spawn([&aborted, &own]() -> future<> {
                    try {
                        co_await sleep_for(1h, own.aborts());
                    } catch (...) {
                        ++aborted;
                        throw;
                    }
                });
            }
            own.spawn([]() -> future<> {
                co_await sleep_for(1ms);
                throw std::runtime_error("burst");
            });
            co_await sleep_for(1h, own.aborts());
            co_return 1;
        });
        shard.pass(1ms);
        CHECK_THROWS_WITH(result.take(), "burst");
        CHECK(aborted == 3);
    }

    TEST_CASE("a body that fails aborts its children and waits for them") {
        test::bare_shard shard;
        promise<> slow;
        auto result = with_scope([&slow](scope& own) {
            own.spawn([&slow] { return slow.get_future(); });
            throw std::runtime_error("leak");
        });
        shard.settle();
        CHECK_FALSE(result.available());
        slow.set_value();
        CHECK_THROWS_WITH(shard.wait(std::move(result)), "leak");
    }

    TEST_CASE("a parent's abort reaches the children") {
        test::bare_shard shard;
        abort_source parent;
        auto result = with_scope(
            parent, [](scope& own) { own.spawn([&own] { return sleep_for(1h, own.aborts()); }); });
        parent.request();
        CHECK_THROWS_AS(shard.wait(std::move(result)), error);
    }

    TEST_CASE("an empty scope is there at once") {
        test::bare_shard shard;
        CHECK(with_scope([](scope&) { return 3; }).take() == 3);
        with_scope([](scope&) {}).take();
    }
}

TEST_SUITE("core/shared_future") {
    TEST_CASE("everyone who waits gets a copy, before and after it is there") {
        test::bare_shard shard;
        promise<std::string> source;
        const shared_future<std::string> shared(source.get_future());
        const auto copy = shared;
        auto first = shared.get_future();
        auto second = copy.get_future();
        {
            auto dropped = shared.get_future();
        }
        abort_source aborts;
        auto impatient = shared.get_future(aborts);
        aborts.request();
        CHECK_THROWS_AS(impatient.take(), error);
        source.set_value("tide");
        shard.settle();
        CHECK(first.take() == "tide");
        CHECK(second.take() == "tide");
        CHECK(shared.available());
        CHECK(shared.get_future().take() == "tide");
    }

    TEST_CASE("a failure reaches everyone, and is counted if there is no one") {
        test::bare_shard shard;
        promise<> source;
        shared_future<> shared(source.get_future());
        auto first = shared.get_future();
        source.set_failure(std::make_exception_ptr(std::runtime_error("ebb")));
        shard.settle();
        CHECK_THROWS_WITH(first.take(), "ebb");
        CHECK_THROWS_WITH(shared.get_future().take(), "ebb");
        {
            shared_future<> unseen(make_failed_future(std::runtime_error("unseen")));
        }
        shard.ignored_expected = 1;
    }

    TEST_CASE("who waits gets an answer even when no handle is left") {
        test::bare_shard shard;
        promise<int> source;
        future<int> waiting;
        {
            const shared_future<int> shared(source.get_future());
            waiting = shared.get_future();
        }
        source.set_value(2);
        CHECK(shard.wait(std::move(waiting)) == 2);
    }
}

TEST_SUITE("core/condition") {
    TEST_CASE("signal lets the longest waiting go on, broadcast all") {
        test::bare_shard shard;
        condition changed;
        auto one = changed.wait();
        auto two = changed.wait();
        auto three = changed.wait();
        changed.signal();
        CHECK(one.available());
        CHECK_FALSE(two.available());
        changed.broadcast();
        CHECK(two.available());
        CHECK(three.available());
        changed.signal();
        CHECK_FALSE(changed.wait().available());
    }

    TEST_CASE("wait with a predicate goes on only when it holds, or fails with the abort") {
        test::bare_shard shard;
        condition changed;
        int level = 0;
        abort_source source;
        auto high = changed.wait([&level] { return level > 1; });
        auto never_met = changed.wait([] { return false; }, source);
        ++level;
        changed.broadcast();
        shard.settle();
        CHECK_FALSE(high.available());
        ++level;
        changed.broadcast();
        shard.settle();
        CHECK(high.available());
        source.request();
        CHECK_THROWS_AS(shard.wait(std::move(never_met)), error);
        auto broken = changed.wait();
        changed.fail(std::make_exception_ptr(std::runtime_error("dam")));
        CHECK_THROWS_WITH(broken.take(), "dam");
    }

    TEST_CASE("a condition that goes breaks the waits") {
        test::bare_shard shard;
        future<> waiting;
        {
            condition changed;
            waiting = changed.wait();
        }
        CHECK_THROWS_AS(waiting.take(), error);
    }
}
