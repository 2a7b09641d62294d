// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <ranges>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/pipeline/failure.hh>
#include <tests/support/both.hh>

#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/ticks.hh>

TEST_SUITE_BEGIN("pipeline/ends");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::abort_source;
using weir::error;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::failure_of;
using weir::test::on_both;
using namespace std::chrono_literals;

TEST_CASE("ticks come once a period, and not more often for having been late") {
    on_both([](host&) -> future<> {
        std::vector<std::uint64_t> indexes;
        co_await run(ticks(2ms, {.first = 3, .end = 8}) >>
                     map([](const tick& t) { return t.index; }) >> collect(indexes));
        REQUIRE(!indexes.empty());
        CHECK(indexes.front() == 3);
        CHECK(indexes.back() <= 7);
        CHECK(std::ranges::is_sorted(indexes, std::ranges::less_equal()));

        indexes.clear();
        const auto deployed = co_await deploy(
            ticks(1ms) >> map([](const tick& t) { return t.index; }) >> collect(indexes));
        while (indexes.empty()) {
            co_await sleep_for(1ms);
        }
        co_await deployed->pause();
        const std::size_t before = indexes.size();
        co_await sleep_for(50ms);
        co_await deployed->resume();
        while (indexes.size() < before + 3) {
            co_await sleep_for(1ms);
        }
        co_await deployed->stop();
        co_await deployed->join();
        // The one that was due when the pause began, and then those after it.
        CHECK(indexes[before + 2] >= 45);
    });
}

TEST_CASE("a stop does not wait for a tick that is far away") {
    on_both([](host&) -> future<> {
        const auto deployed = co_await deploy(ticks(1h) >> id() >> discard());
        co_await sleep_for(1ms);
        co_await deployed->stop();
        co_await deployed->join();
    });
}

TEST_CASE("a generator yields, waits, and ends or fails after what it gave") {
    on_both(
        [](host&) -> future<> {
            for (const std::size_t capacity : {1, 4, 64}) {
                std::vector<int> got;
                co_await run(from_generator([](abort_source&) -> generator<int> {
                                 for (int i = 0; i < 100; ++i) {
                                     if (i % 7 == 0) {
                                         co_await sleep_for(100us);
                                     }
                                     co_yield i;
                                 }
                             }) >>
                                 id() >> collect(got),
                             {.capacity = capacity});
                CHECK(got.size() == 100);
                CHECK(got.back() == 99);

                got.clear();
                const std::string said =
                    co_await failure_of(from_generator([](abort_source&) -> generator<int> {
                                            co_yield 1;
                                            co_yield 2;
                                            throw error("make", "three", weir::errc::malformed);
                                        }) >>
                                        id() >> collect(got));
                CHECK(got == std::vector<int>{1, 2});
                CHECK(said.find("make three") == 0);
            }
        },
        2);
}

TEST_CASE("a stop reaches what a generator waits for") {
    on_both([](host&) -> future<> {
        std::vector<int> got;
        const auto deployed =
            co_await deploy(from_generator([](abort_source& stop) -> generator<int> {
                                co_yield 1;
                                co_await sleep_for(1h, stop);
                                co_yield 2;
                            }) >>
                            id() >> collect(got));
        while (got.empty()) {
            co_await sleep_for(1ms);
        }
        co_await deployed->stop();
        co_await deployed->join();
        CHECK(got == std::vector<int>{1});
    });
}

TEST_CASE("a range is a source, also one without an end") {
    on_both([](host&) -> future<> {
        std::vector<int> got;
        co_await run(from_range(std::views::iota(3, 40)) >> id() >> collect(got), {.capacity = 4});
        CHECK(got.size() == 37);
        CHECK(got.front() == 3);
        CHECK(got.back() == 39);
        got.clear();
        co_await run(from_range(std::vector<int>{}) >> id() >> collect(got));
        CHECK(got.empty());
        const auto endless =
            co_await deploy(from_range(std::views::iota(0)) >> id() >> collect(got));
        while (got.size() < 100) {
            co_await sleep_for(1ms);
        }
        co_await endless->stop();
        co_await endless->join();
        CHECK(got[99] == 99);
    });
}
