// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <stdexcept>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/ticks.hh>

using namespace weir;
using namespace weir::pipeline;
using namespace std::chrono_literals;

namespace {

/// A number that is gone when its element is.
struct mortal {
    explicit mortal(int n) : number(n) {}
    mortal(const mortal&) = default;
    mortal(mortal&&) = default;
    ~mortal() { number = -1; }
    int number;
};

/// Sends an element each millisecond to futures that end only when `window` of them are under way.
template <typename P>
future<> fill_window(const P& before, std::size_t window) {
    std::vector<promise<>> waiting;
    bool full = false;
    const auto together = map_async(window, [&](const auto&) -> future<int> {
        if (!full) {
            waiting.emplace_back();
            future<> opened = waiting.back().get_future();
            if (waiting.size() == window) {
                full = true;
                for (promise<>& each : waiting) {
                    each.set_value();
                }
            }
            co_await std::move(opened);
        }
        co_return 0;
    });
    co_await run(ticks(1ms) >> map([](const tick& each) { return static_cast<int>(each.index); }) >>
                     before >> together >> for_each([left = 40](int) mutable {
                         if (--left == 0) {
                             throw std::runtime_error("enough");
                         }
                     }),
                 {.where = {.how = placement::policy::pack}});
}

using side = either<mortal, mortal>;

side side_of(int n) {
    return n / 2 % 2 == 0 ? side(std::in_place_index<0>, n) : side(std::in_place_index<1>, n);
}

}  // namespace

TEST_SUITE("pipeline/async") {
    TEST_CASE("a window fills from any view, not only from a ring") {
        const auto itself = [] { return map([](int i) { return i; }); };
        const auto halves = map([](int i) {
            return i % 2 == 0 ? either<int, int>(std::in_place_index<0>, i)
                              : either<int, int>(std::in_place_index<1>, i);
        });
        test::on_simulator(
            [&](host&) -> future<> {
                // A window that did not fill would wait for ever.
                const auto fills = [](const auto& before) -> future<bool> {
                    try {
                        co_await fill_window(before, 16);
                    } catch (const std::runtime_error&) {
                        co_return true;
                    }
                    co_return false;
                };
                CHECK(co_await fills(id()));
                CHECK(co_await fills(pipeline::shard<2>(itself())));
                CHECK(co_await fills(pipeline::shard<2>(itself(), 40)));
                CHECK(co_await fills(halves >> merge(itself(), itself())));
                CHECK(co_await fills(fanout(itself(), itself())));
            },
            1, 2);
    }

    TEST_CASE("elements that futures look at stay, also when nobody wants their results any more") {
        test::on_both([](host&) -> future<> {
            std::vector<side> in;
            for (int i = 0; i < 400; ++i) {
                in.push_back(side_of(i));
            }
            const auto itself = [] { return map([](const mortal& m) { return m; }); };
            int dead = 0;
            int taken = 0;
            const auto late = [&dead](const mortal& each) -> future<int> {
                const int number = each.number;
                co_await sleep_for(std::chrono::microseconds(10 << number % 8));
                dead += each.number != number;
                co_return number;
            };
            const auto refuse = for_each([&taken](int) {
                if (++taken == 5) {
                    throw std::runtime_error("enough");
                }
            });
            for (const bool ordered : {true, false}) {
                taken = 0;
                bool failed = false;
                const deploy_options options{.where = {.how = placement::policy::pack},
                                             .capacity = 16};
                try {
                    if (ordered) {
                        co_await run(from_list(in) >> merge(itself(), itself()) >>
                                         map_async(8, late) >> refuse,
                                     options);
                    } else {
                        co_await run(from_list(in) >> merge(itself(), itself()) >>
                                         map_unordered(8, late) >> refuse,
                                     options);
                    }
                } catch (const std::runtime_error&) {
                    failed = true;
                }
                CHECK(failed);
            }
            CHECK(dead == 0);
        });
    }

    TEST_CASE("a range that holds its elements may lie anywhere") {
        test::on_both(
            [](host&) -> future<> {
                std::array<int, 30> in{};
                std::vector<int> expected;
                for (int i = 0; i < 30; ++i) {
                    in[static_cast<std::size_t>(i)] = i;
                    expected.push_back(i);
                }
                std::vector<int> out;
                const auto run =
                    co_await deploy(from_range(in) >> map([](int i) { return i; }) >> collect(out),
                                    {.capacity = 4, .batch = 4, .paused = true});
                co_await run->sample();  // runs that are timed go another way
                co_await run->resume();
                co_await run->join();
                CHECK(out == expected);
            },
            2);
    }
}
