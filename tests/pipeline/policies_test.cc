// SPDX-License-Identifier: Apache-2.0
// What happens when the function of a stage fails.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/laws.hh>
#include <pipeline/seeded.hh>
#include <support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/pipeline/pipeline.hh>

using namespace weir;
using namespace weir::pipeline;

namespace {

std::vector<int> numbers(int count) {
    std::vector<int> list;
    for (int i = 0; i < count; ++i) {
        list.push_back(i);
    }
    return list;
}

template <typename Keep>
std::vector<int> those(const std::vector<int>& list, Keep keep) {
    std::vector<int> kept;
    std::ranges::copy_if(list, std::back_inserter(kept), keep);
    return kept;
}

void fail() {
    throw std::runtime_error("fragile");
}

/// Fails n % 4 times at n, then gives how often it was called for it.
int count_calls(std::map<int, int>& calls, int n) {
    const int call = ++calls[n];
    if (call <= n % 4) {
        fail();
    }
    return call;
}

/// The same, later: elements take unequally long.
const auto count_calls_later = [calls = std::map<int, int>()](int n) mutable -> future<int> {
    const int call = ++calls[n];
    if (call % 2 == n % 2) {
        co_await sleep_for(std::chrono::microseconds(n * 7919 % 13));
    }
    if (call <= n % 4) {
        fail();
    }
    co_return call;
};

/// Futures that fail end before those that do not.
const auto no_threes_later = [](int n) -> future<int> {
    if (n % 5 == 3) {
        fail();
    }
    co_await sleep_for(std::chrono::microseconds(20 - n % 5));
    co_return n;
};

using letters = std::shared_ptr<std::vector<int>>;

auto post(const letters& to) {
    return [to](int n, const std::exception_ptr& failure) {
        CHECK_THROWS_WITH(std::rethrow_exception(failure), "fragile");
        to->push_back(n);
    };
}

/// Whether a pipeline that posts to `box` leaves out the numbers with a remainder of 3 by 5, in
/// order, as a model and deployed.
template <typename P>
future<std::string> skips_threes(test::chooser& draw, letters box, P described) {
    const auto p = describe<int>(described);
    const std::vector<int> in = numbers(static_cast<int>(draw(60)));
    const deploy_options options = test::random_deployment(draw, test::law_shards);
    const auto wrong = [&](const test::outcome<int>& found) -> std::string {
        const auto odd_one = [](int n) { return n % 5 == 3; };
        if (std::exchange(*box, {}) != those(in, odd_one)) {
            return "other letters";
        }
        return test::difference(found, {those(in, std::not_fn(odd_one))});
    };
    if (const std::string said = wrong(co_await test::modelled(p, in)); !said.empty()) {
        co_return "model: " + said;
    }
    const std::string said = wrong(co_await test::deployed(p, in, options));
    co_return said.empty() ? said : test::text_of(options) + ": " + said;
}

}  // namespace

TEST_SUITE("pipeline/policies") {
    TEST_CASE("retry calls a function so often more for each element, and no more") {
        test::on_seeds([](test::chooser& draw) {
            const auto counted = map(
                [calls = std::map<int, int>()](int n) mutable { return count_calls(calls, n); });
            return test::all_give(draw, std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4, 1}, numbers(9),
                                  retry(3, counted), retry(1, retry(1, counted)));
        });
        test::on_seeds([](test::chooser& draw) {
            const auto counted = map(
                [calls = std::map<int, int>()](int n) mutable { return count_calls(calls, n); });
            return test::all_give(
                draw, make_ready_future<test::outcome<int>>(test::outcome<int>{{1, 2, 3}, true}),
                numbers(9), retry(2, counted));
        });
    }

    TEST_CASE("retry asks a filter again") {
        test::on_seeds([](test::chooser& draw) {
            const auto even = filter([calls = std::map<int, int>()](int n) mutable {
                return count_calls(calls, n) % 2 == 1;
            });
            return test::all_give(draw, std::vector<int>{0, 2, 4, 6, 8}, numbers(9),
                                  retry(3, even));
        });
    }

    TEST_CASE("retry begins futures that failed again, each in its place") {
        test::on_seeds([](test::chooser& draw) {
            const std::size_t window = 1 + draw(6);
            return test::all_give(draw, std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4, 1}, numbers(9),
                                  retry(3, map_async(window, count_calls_later)));
        });
        test::on_seeds([](test::chooser& draw) {
            const std::size_t window = 1 + draw(6);
            return test::all_give(
                draw, make_ready_future<test::outcome<int>>(test::outcome<int>{{1, 2, 3}, true}),
                numbers(9), retry(2, map_async(window, count_calls_later)));
        });
    }

    TEST_CASE("an element whose future is tried again counts in the window") {
        test::on_both([](host&) -> future<> {
            std::set<int> under_way;
            std::size_t most = 0;
            std::map<int, int> calls;
            const auto later = [&](int n) -> future<int> {
                under_way.insert(n);
                most = std::max(most, under_way.size());
                co_await sleep_for(std::chrono::microseconds(100 + n % 3));
                const int call = count_calls(calls, n);
                under_way.erase(n);
                co_return call;
            };
            std::vector<int> out;
            co_await run(
                from_list(numbers(60)) >> retry(3, map_unordered(4, later)) >> collect(out),
                {.where = {.how = placement::policy::pack}});
            CHECK(out.size() == 60);
            CHECK(under_way.empty());
            CHECK(most == 4);
        });
    }

    TEST_CASE("skip leaves out what fails, and sends letters in the order of the elements") {
        test::on_seeds([](test::chooser& draw) {
            const auto box = std::make_shared<std::vector<int>>();
            return skips_threes(draw, box,
                                skip(map([](int n) {
                                         if (n % 5 == 3) {
                                             fail();
                                         }
                                         return n;
                                     }),
                                     post(box)));
        });
        test::on_seeds([](test::chooser& draw) {
            const auto box = std::make_shared<std::vector<int>>();
            return skips_threes(draw, box,
                                skip(filter([](int n) {
                                         if (n % 5 == 3) {
                                             fail();
                                         }
                                         return true;
                                     }),
                                     post(box)));
        });
    }

    TEST_CASE("skip leaves out futures that fail, in order, though they end before others") {
        test::on_seeds([](test::chooser& draw) {
            const auto box = std::make_shared<std::vector<int>>();
            return skips_threes(draw, box,
                                skip(map_async(1 + draw(6), no_threes_later), post(box)));
        });
    }

    TEST_CASE("skip gives of a map_unordered what did not fail") {
        test::on_both([](host&) -> future<> {
            std::vector<int> out;
            const auto box = std::make_shared<std::vector<int>>();
            co_await run(from_list(numbers(60)) >>
                             skip(map_unordered(4, no_threes_later), post(box)) >> collect(out),
                         {.capacity = 4});
            std::ranges::sort(out);
            std::ranges::sort(*box);
            CHECK(out == those(numbers(60), [](int n) { return n % 5 != 3; }));
            CHECK(*box == those(numbers(60), [](int n) { return n % 5 == 3; }));
        });
    }

    TEST_CASE("each element is retried as often as any other before it is skipped") {
        test::on_seeds([](test::chooser& draw) {
            const auto counted = map(
                [calls = std::map<int, int>()](int n) mutable { return count_calls(calls, n); });
            const auto ignore = [](int, const std::exception_ptr&) {};
            return test::all_give(draw, std::vector<int>{1, 2, 3, 1, 2, 3, 1, 2, 3}, numbers(12),
                                  skip(retry(2, counted), ignore),
                                  skip(retry(2, map_async(3, count_calls_later)), ignore));
        });
    }

    TEST_CASE("futures that skip may give pairs, and take them") {
        test::on_seeds([](test::chooser& draw) {
            using pair = std::pair<int, std::string>;
            const auto name = skip(map_async(3,
                                             [](int n) -> future<pair> {
                                                 co_await no_threes_later(n);
                                                 co_return pair(n, std::to_string(n));
                                             }),
                                   [](int, const std::exception_ptr&) {});
            const auto read = skip(
                map_async(3,
                          [](const auto& named) -> future<pair> {
                              co_await sleep_for(std::chrono::microseconds(1));
                              if (named.first == 4) {
                                  fail();
                              }
                              co_return pair(named.first, named.second);
                          }),
                [](const auto& named, const std::exception_ptr&) { CHECK(named.second == "4"); });
            return test::all_give(draw, std::vector<pair>{{0, "0"}, {1, "1"}, {2, "2"}, {5, "5"}},
                                  numbers(6), name >> read);
        });
    }

    TEST_CASE("a letter that can't be sent ends the stream") {
        test::on_seeds([](test::chooser& draw) {
            const auto refuse = [](int, const std::exception_ptr&) { fail(); };
            return test::all_give(
                draw, make_ready_future<test::outcome<int>>(test::outcome<int>{{0, 1, 2}, true}),
                numbers(9), skip(map_async(4, no_threes_later), refuse),
                skip(map_async(4, no_threes_later), refuse) >> map([](int n) { return n; }));
        });
        test::on_both([](host&) -> future<> {
            const auto refuse = [](int, const std::exception_ptr&) { fail(); };
            bool failed = false;
            try {
                co_await run(from_list(numbers(9)) >>
                             skip(map_unordered(4, no_threes_later), refuse) >> discard());
            } catch (const std::runtime_error&) {
                failed = true;
            }
            CHECK(failed);
        });
    }

    TEST_CASE("restart begins a fold anew where it failed, and ends where it fails again") {
        const auto counting = [](int& count, int n) {
            if (++count == 5 || n == 11) {
                fail();
            }
            return count;
        };
        test::on_seeds([counting](test::chooser& draw) {
            return test::all_give(draw, std::vector<int>{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3},
                                  numbers(11), restart(fold(0, counting)));
        });
        test::on_seeds([counting](test::chooser& draw) {
            return test::all_give(draw,
                                  make_ready_future<test::outcome<int>>(
                                      test::outcome<int>{{1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3}, true}),
                                  numbers(20), restart(fold(0, counting)));
        });
        // Each key has its own state, and its own failures.
        test::on_seeds([counting](test::chooser& draw) {
            return test::all_give(draw, std::vector<int>{1, 1, 2, 2, 3, 3, 4, 4, 1, 1, 2},
                                  numbers(11),
                                  shard_by<2>([](int n) { return static_cast<unsigned>(n); },
                                              restart(fold(0, counting))));
        });
    }

    TEST_CASE("a stage that retries or restarts keeps the name that it was given") {
        const auto node_of = [](const auto& what) { return describe<int>(what).graph(); };
        const auto itself = [](int n) { return n; };
        CHECK(node_of(retry(1, named("a", map(itself))))->name == "a");
        CHECK(node_of(skip(named("b", map(itself)), [](int, const std::exception_ptr&) {}))->name ==
              "b");
        CHECK(node_of(named("c", retry(1, map(itself))))->name == "c");
        CHECK(node_of(restart(named("d", fold(0, [](int&, int n) { return n; }))))->name == "d");
    }
}
