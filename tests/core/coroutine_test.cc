// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <stdexcept>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/coroutine.hh>

using namespace weir;

namespace {

future<int> add(future<int> left, int right) {
    co_return co_await std::move(left) + right;
}

future<int> descend(int depth, promise<int>& bottom) {
    if (depth == 0) {
        co_return co_await bottom.get_future();
    }
    co_return 1 + co_await descend(depth - 1, bottom);
}

future<> fail_after_yield() {
    co_await yield();
    throw std::runtime_error("reef");
}

}  // namespace

TEST_SUITE("core/coroutine") {
    TEST_CASE("a coroutine runs to its first wait at once and goes on when the value is there") {
        test::bare_shard shard;
        promise<int> source;
        future<int> sum = add(source.get_future(), 2);
        CHECK_FALSE(sum.available());
        source.set_value(40);
        shard.settle();
        CHECK(sum.take() == 42);
    }

    TEST_CASE("a deep chain of waiting parents unwinds without growing the stack") {
        test::bare_shard shard;
        promise<int> bottom;
        future<int> depth = descend(10000, bottom);
        bottom.set_value(0);
        CHECK(shard.wait(std::move(depth)) == 10000);
    }

    TEST_CASE("an exception travels through co_await") {
        test::bare_shard shard;
        auto outer = []() -> future<std::string> {
            try {
                co_await fail_after_yield();
            } catch (const std::runtime_error& e) {
                co_return e.what();
            }
            co_return "calm";
        };
        CHECK(shard.wait(outer()) == "reef");
    }

    TEST_CASE("yield lets the others run first") {
        test::bare_shard shard;
        std::vector<int> order;
        auto walker = [&order](int name) -> future<> {
            for (int step = 0; step < 2; ++step) {
                order.push_back(name);
                co_await yield();
            }
        };
        future<> one = walker(1);
        future<> two = walker(2);
        shard.wait(std::move(one));
        shard.wait(std::move(two));
        CHECK(order == std::vector<int>{1, 2, 1, 2});
    }

    TEST_CASE("a ready value is not taken past a wish to preempt") {
        test::bare_shard shard;
        bool other_ran = false;
        auto other = [&other_ran]() -> future<> {
            co_await yield();
            other_ran = true;
        };
        auto busy = [&]() -> future<> {
            while (!other_ran) {
                co_await make_ready_future();
            }
        };
        shard.outside.preempt_next = true;
        future<> one = other();
        shard.wait(busy());
        shard.wait(std::move(one));
        CHECK(other_ran);
    }

    TEST_CASE(
        "tasks that never stop awaiting ready values leave the turn at the end of its slice") {
        test::bare_shard shard;
        constexpr int many = 100'000;
        int steps = 0;
        const auto busy = [&]() -> future<> {
            co_await yield();
            while (steps < many) {
                ++steps;
                co_await make_ready_future();
            }
        };
        future<> one = busy();
        future<> two = busy();
        shard.outside.preempt_next = true;
        this_shard().turn();
        CHECK(steps < many);
        shard.wait(std::move(one));
        shard.wait(std::move(two));
    }

    TEST_CASE("a capturing lambda coroutine is safe to pass to then") {
        test::bare_shard shard;
        auto value = std::make_unique<int>(5);
        promise<> gate;
        future<int> result =
            make_ready_future().then([value = std::move(value), &gate]() -> future<int> {
                co_await gate.get_future();
                co_return *value;
            });
        gate.set_value();
        CHECK(shard.wait(std::move(result)) == 5);
    }

    TEST_CASE("frames come from the pool and go back to it") {
        test::bare_shard shard;
        auto once = []() -> future<> { co_await yield(); };
        shard.wait(once());
        const auto misses = this_shard().pool().counters().misses;
        for (int i = 0; i < 100; ++i) {
            shard.wait(once());
        }
#if !defined(__has_feature) || !__has_feature(address_sanitizer)
        CHECK(this_shard().pool().counters().misses == misses);
#endif
    }
}
