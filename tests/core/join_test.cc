// SPDX-License-Identifier: Apache-2.0
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <tests/support/bare_host.hh>

#include <weir/core/await_all.hh>
#include <weir/core/loop.hh>

using namespace weir;

namespace {

std::exception_ptr failure(const char* what) {
    return std::make_exception_ptr(std::runtime_error(what));
}

// 0, 1, then it throws.
auto breaking_range() {
    return std::views::iota(0, 5) | std::views::transform([](int i) {
               return i < 2 ? i : throw std::runtime_error("the range broke");
           });
}

// What the calls of a loop use lies with the callable, which the loop owns.
struct slow_call {
    explicit slow_call(int& counter) : kept(std::make_unique<int>(7)), ended(&counter) {}
    future<> operator()(int) {
        for (int i = 0; i < 3; ++i) {
            co_await yield();
        }
        CHECK(*kept == 7);
        ++*ended;
    }
    std::unique_ptr<int> kept;
    int* ended;
};

}  // namespace

TEST_SUITE("core/await_all") {
    TEST_CASE("await_all fails as the leftmost, when all have ended, and leaves values") {
        test::bare_shard shard;
        promise<> last;
        promise<int> number;
        auto joined = [&]() -> future<int> {
            std::vector<future<>> all(3);
            all[0] = make_ready_future();
            all[1] = last.get_future();
            all[2] = make_failed_future(std::runtime_error("third"));
            future<int> kept = number.get_future();
            std::string said;
            try {
                co_await await_all(all, failure("never begun"));
            } catch (const std::exception& e) {
                said = e.what();
            }
            CHECK(said == "second");
            co_await await_all(kept, all[0]);
            co_return kept.take();
        }();
        shard.settle();
        CHECK_FALSE(joined.available());
        last.set_failure(failure("second"));
        number.set_value(4);
        CHECK(shard.wait(std::move(joined)) == 4);
    }

    TEST_CASE("what kept the caller from beginning more is told when those that began have ended") {
        test::bare_shard shard;
        promise<> slow;
        bool began_third = false;
        auto joined = [&]() -> future<> {
            std::vector<future<>> all;
            co_await await_all(all, [&] {
                begin_in(all, [&slow] { return slow.get_future(); });
                begin_in(all, [] {});
                throw std::runtime_error("no third");
                began_third = true;
            });
        }();
        shard.settle();
        CHECK_FALSE(joined.available());
        slow.set_value();
        CHECK_THROWS_WITH(shard.wait(std::move(joined)), "no third");
        CHECK_FALSE(began_third);
    }

    TEST_CASE("waiting for all allocates nothing") {
        test::bare_shard shard;
        std::vector<promise<>> gates(3);
        auto joined = [&]() -> future<> {
            std::vector<future<>> all;
            for (auto& each : gates) {
                all.push_back(each.get_future());
            }
            const auto before = this_shard().pool().counters().allocations;
            co_await settled(all);
            co_await await_all(all);
            CHECK(this_shard().pool().counters().allocations == before);
        }();
        for (auto& each : gates) {
            CHECK_FALSE(joined.available());
            each.set_value();
            shard.settle();
        }
        joined.take();
    }

    TEST_CASE("a range that throws ends parallel_for_each when all that it began has ended") {
        test::bare_shard shard;
        int ended = 0;
        CHECK_THROWS_WITH(shard.wait(parallel_for_each(breaking_range(), slow_call(ended))),
                          "the range broke");
        CHECK(ended == 2);
    }

    TEST_CASE("a range that throws ends max_concurrent_for_each when all that it began has ended") {
        for (const std::size_t most : {1, 2, 5}) {
            test::bare_shard shard;
            int ended = 0;
            CHECK_THROWS_WITH(
                shard.wait(max_concurrent_for_each(breaking_range(), most, slow_call(ended))),
                "the range broke");
            CHECK(ended == 2);
        }
    }

    TEST_CASE("none at once is refused") {
        test::bare_shard shard;
        int ended = 0;
        auto refused = max_concurrent_for_each(std::vector<int>{1}, 0, slow_call(ended));
        REQUIRE(refused.available());
        CHECK_THROWS_WITH_AS(refused.take(),
                             "begin max_concurrent_for_each of 0 at once: Invalid argument", error);
        CHECK(ended == 0);
    }

    TEST_CASE("the failure of a call comes before that of the range behind it") {
        test::bare_shard shard;
        auto fail = [](int i) -> future<> {
            co_await yield();
            throw std::runtime_error(std::to_string(i));
        };
        CHECK_THROWS_WITH(shard.wait(parallel_for_each(breaking_range(), fail)), "0");
        CHECK_THROWS_WITH(shard.wait(max_concurrent_for_each(breaking_range(), 1, fail)), "0");
    }
}
