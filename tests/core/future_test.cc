// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <stdexcept>
#include <string>

#include <tests/support/bare_host.hh>

#include <weir/core/future.hh>

using namespace weir;

TEST_SUITE("core/future") {
    TEST_CASE("a value set before the future moves arrives where the future is") {
        test::bare_shard shard;
        promise<std::string> source;
        future<std::string> first = source.get_future();
        future<std::string> second = std::move(first);
        promise<std::string> moved = std::move(source);
        CHECK_FALSE(second.available());
        moved.set_value("water");
        CHECK(second.available());
        CHECK(second.take() == "water");
    }

    TEST_CASE("then on a ready future runs at once and allocates nothing") {
        test::bare_shard shard;
        const auto before = this_shard().pool().counters().allocations;
        int seen = 0;
        auto doubled = make_ready_future<int>(21).then([&seen](int v) {
            seen = v;
            return 2 * v;
        });
        CHECK(seen == 21);
        CHECK(doubled.take() == 42);
        CHECK(make_ready_future().then([] { return make_ready_future<int>(1); }).take() == 1);
        CHECK(this_shard().pool().counters().allocations == before);
    }

    TEST_CASE("then on a pending future runs in a later task, never inside set_value") {
        test::bare_shard shard;
        promise<int> source;
        bool ran = false;
        future<int> next = source.get_future().then([&ran](int v) {
            ran = true;
            return v + 1;
        });
        source.set_value(1);
        CHECK_FALSE(ran);
        shard.settle();
        CHECK(ran);
        CHECK(next.take() == 2);
    }

    TEST_CASE("a callable lives until the future that it returned is settled") {
        test::bare_shard shard;
        auto alive = std::make_shared<int>(7);
        std::weak_ptr<int> watch = alive;
        promise<> inner;
        future<int> result = make_ready_future().then([alive = std::move(alive), &inner] {
            return inner.get_future().then([&alive] { return *alive; });
        });
        CHECK_FALSE(watch.expired());
        inner.set_value();
        shard.settle();
        CHECK(result.take() == 7);
        CHECK(watch.expired());
    }

    TEST_CASE("a failure passes by then and reaches handle_failure") {
        test::bare_shard shard;
        bool ran = false;
        future<int> result = make_failed_future<int>(std::runtime_error("dry"))
                                 .then([&ran](int v) {
                                     ran = true;
                                     return v;
                                 })
                                 .handle_failure([](std::exception_ptr) { return 3; });
        CHECK_FALSE(ran);
        CHECK(result.take() == 3);
    }

    TEST_CASE("finally runs for a value and for a failure, and its own failure wins") {
        test::bare_shard shard;
        int runs = 0;
        auto good = make_ready_future<int>(4).finally([&runs] { ++runs; });
        CHECK(good.take() == 4);
        auto failed = make_failed_future<int>(std::runtime_error("a")).finally([&runs] { ++runs; });
        CHECK_THROWS_WITH(failed.take(), "a");
        auto worse = make_ready_future<int>(4).finally([] { throw std::runtime_error("b"); });
        CHECK_THROWS_WITH(worse.take(), "b");
        CHECK(runs == 2);
    }

    TEST_CASE("a promise that is destroyed breaks its future") {
        test::bare_shard shard;
        future<> orphan;
        {
            promise<> source;
            orphan = source.get_future();
        }
        CHECK(orphan.failed());
        CHECK_THROWS_AS(orphan.take(), weir::error);
    }

    TEST_CASE("a failure that nobody looks at is counted") {
        test::bare_shard shard;
        {
            auto dropped = make_failed_future(std::runtime_error("unseen"));
        }
        CHECK(this_shard().counters().failures_ignored == 1);
        {
            promise<> source;
            {
                auto dropped = source.get_future();
            }
            source.set_failure(std::make_exception_ptr(std::runtime_error("too late")));
        }
        CHECK(this_shard().counters().failures_ignored == 2);
        {
            make_failed_future(std::runtime_error("known")).ignore();
        }
        shard.ignored_expected = 2;
    }

    TEST_CASE("a chain of ready futures does not grow the stack without bound") {
        test::bare_shard shard;
        struct countdown {
            static future<int> from(int n) {
                if (n == 0) {
                    return make_ready_future<int>(0);
                }
                return make_ready_future().then([n] { return from(n - 1); });
            }
        };
        CHECK(shard.wait(countdown::from(100000)) == 0);
    }
}
