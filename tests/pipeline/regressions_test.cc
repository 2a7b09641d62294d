// SPDX-License-Identifier: Apache-2.0
// Defects that pipelines of this kind are known to have had, each by a letter, as tests that
// would find them here: in what the seed of this folder left behind, and in its relatives.
#include <algorithm>
#include <atomic>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/laws.hh>

#include <weir/pipeline/generator.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/regressions");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using namespace weir::test;
using std::chrono::microseconds;
using weir::future;
using weir::sleep_for;

namespace {

std::vector<number> numbers(std::size_t length) {
    std::vector<number> list(length);
    std::iota(list.begin(), list.end(), 0);
    return list;
}

constexpr auto plus_one = [](const number& each) { return each + 1; };

/// Takes `longest_us` for some elements, and no time for others.
auto slowly(std::size_t window, std::uint64_t longest_us) {
    return map_async(window, [longest_us](const number& each) -> future<number> {
        const number kept = each;
        if (const std::uint64_t us = mixed(hash(kept)) % (longest_us + 1); us != 0) {
            co_await sleep_for(microseconds(us));
        }
        co_return kept;
    });
}

/// What a sink saw: the elements, and what came when it should not.
struct seen {
    std::vector<number> elements{};
    bool closed = false;
    bool after_close = false;
};

class watching_sink final : public sink {
  public:
    explicit watching_sink(seen& into) : _into(into) {}
    std::size_t take(const lane* in, std::size_t n) override {
        _into.after_close = _into.after_close || _into.closed;
        for (std::size_t i = 0; i < n; ++i) {
            _into.elements.push_back(shape<number>::load(in, i));
        }
        return n;
    }
    future<> close() override {
        _into.after_close = _into.after_close || _into.closed;
        _into.closed = true;
        return weir::make_ready_future();
    }

  private:
    seen& _into;
};

auto watch(seen& into) {
    return sink_for{"watching", [&into]<typename T>() {
                        return std::function<std::unique_ptr<sink>()>(
                            [&into] { return std::make_unique<watching_sink>(into); });
                    }};
}

std::string all_came(const seen& found, std::vector<number> expected) {
    if (!found.closed || found.after_close) {
        return found.closed ? "elements after the end" : "no end";
    }
    return difference(outcome<number>{found.elements}, outcome<number>{std::move(expected)});
}

}  // namespace

TEST_CASE("D1, no back-pressure between stages: a slow stage behind a fast one loses nothing") {
    on_seeds({.draws = 2, .threaded = 3}, [](chooser& draw) -> future<std::string> {
        const auto in = numbers(200 + draw(200));
        auto options = random_deployment(draw, law_shards);
        for (std::size_t capacity = 1; capacity <= 8; capacity += 1 + draw(3)) {
            options.capacity = capacity;
            const auto fast = map(plus_one) >> id() >> map(plus_one);
            const auto slow = describe<number>(fast >> slowly(1, 5) >> map(plus_one));
            const auto expected = co_await modelled(slow, in);
            std::string said = difference(co_await deployed(slow, in, options), expected);
            if (said.empty()) {
                // Two readers of one ring: the slow one holds the writer back for both.
                const auto beside = describe<number>(
                    fast >> fanout(slow, map(plus_one)) >>
                    map([](const auto& pair) { return pair.first * 3 + pair.second; }));
                const auto both_come = co_await modelled(beside, in);
                said = difference(co_await deployed(beside, in, options), both_come);
            }
            if (!said.empty()) {
                co_return fmt::format("{}: {}", text_of(options), said);
            }
        }
        co_return "";
    });
}

TEST_CASE("D2, one wake-up for several consumers: all that sleep get the last event and the end") {
    on_seeds({.threaded = 100}, [](chooser& draw) -> future<std::string> {
        // Each element comes when everybody has gone to sleep over the one before.
        const auto length = 1 + static_cast<number>(draw(12));
        const std::uint64_t pause_us = 20 + draw(200);
        const auto rarely =
            from_generator([length, pause_us](weir::abort_source&) -> generator<number> {
                for (number i = 0; i < length; ++i) {
                    co_await sleep_for(microseconds(pause_us));
                    co_yield i;
                }
                co_await sleep_for(microseconds(pause_us));
            });
        auto options = random_deployment(draw, law_shards);
        options.polls = 0;
        options.fuse = false;
        const auto each = map(plus_one);
        const auto five = fanout(fanout(each, each), fanout(each, fanout(each, each)));
        seen found;
        co_await run(rarely >> five >> map([](const auto& all) {
                         const auto& [left, right] = all;
                         return left.first + left.second + right.first + right.second.first +
                                right.second.second - 5;
                     }) >>
                         watch(found),
                     options);
        auto expected = numbers(static_cast<std::size_t>(length));
        for (number& n : expected) {
            n *= 5;
        }
        co_return all_came(found, expected);
    });
}

TEST_CASE("D3, waiting for the wrong copy: what follows a shard gets odd lengths whole") {
    on_seeds({.worlds = 6, .draws = 1, .threaded = 3}, [](chooser& draw) -> future<std::string> {
        for (std::size_t length = 0; length < 18; ++length) {
            const auto p = random_pure<number, number>(draw, draw(2));
            const auto q = random_stateful<number, text>(draw, draw(2));
            const auto in = random_elements<number>(draw, length);
            std::string said =
                co_await same(draw, in, p >> q, shard<2>(p) >> q, shard<3>(p, 2) >> q,
                              shard<2>(shard<2>(p)) >> q, shard<2>(p) >> id() >> q);
            if (!said.empty()) {
                co_return fmt::format("of {}: {}", length, said);
            }
        }
        co_return "";
    });
}

// That a fold under shard<N> does not compile, wrong_programs.cc sees to: "state: each copy ...".
using folded = decltype(describe<number>(fold(0, [](int& s, const number&) { return s; })));
static_assert(folded::kept.stateful);

TEST_CASE(
    "D4, state of each copy: where state goes with a key, each key has the state it had alone") {
    on_seeds([](chooser& draw) {
        const auto in = random_input<number>(draw);
        const auto key = [](const number& each) { return static_cast<std::size_t>(each) / 10; };
        const auto step = state_function<number, text>{};
        std::vector<std::uint64_t> states(4);
        std::vector<text> expected;
        for (const number& each : in) {
            expected.push_back(step(states[key(each) % 4], each));
        }
        const auto p = fold(std::uint64_t{0}, step);
        return all_give(draw, expected, in, shard_by<4>(key, p), shard_by<4>(key, p >> id()),
                        id() >> shard_by<4>(key, id() >> p));
    });
}

TEST_CASE("D5, unequal work compared: model, deployment and copies sleep as often and as long") {
    on_seeds([](chooser& draw) -> future<std::string> {
        // As the application does that compares them: one description, which all three run.
        const microseconds time(10 + draw(50));
        auto slept = std::make_shared<std::atomic<std::int64_t>>(0);
        const auto nap = map_async(1 + draw(4), [time, slept](const auto&) -> future<unit> {
            const auto own_time = time;
            const auto own_slept = slept;
            co_await sleep_for(own_time);
            *own_slept += own_time.count();
            co_return unit();
        });
        const auto p = describe<unit>(fanout(nap, nap) >> nap >> nap);
        const std::vector<unit> in(draw(20));
        const auto wanted = 4 * time.count() * static_cast<std::int64_t>(in.size());
        const auto options = random_deployment(draw, law_shards);

        co_await modelled(p, in);
        const std::int64_t model_us = slept->exchange(0);
        co_await deployed(p, in, options);
        const std::int64_t deployed_us = slept->exchange(0);
        co_await deployed(describe<unit>(shard<2>(p)), in, options);
        const std::int64_t sharded_us = slept->exchange(0);
        co_return model_us == wanted&& deployed_us == wanted&& sharded_us == wanted
            ? ""
            : fmt::format("{}, {} and {} us of {}", model_us, deployed_us, sharded_us, wanted);
    });
}

TEST_CASE("D6, lost in the middle: a stop loses nothing of what the source has given") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        auto given = std::make_shared<std::atomic<number>>(0);
        const auto endless = generate([given] { return std::optional<number>((*given)++); });
        const auto options = random_deployment(draw, law_shards);
        const auto p =
            describe<number>(fanout(slowly(1 + draw(4), 20), shard<2>(slowly(2, 20))) >>
                             map([](const auto& pair) { return pair.first + pair.second; }) >>
                             shard<3>(map([](const number& sum) { return sum / 2; }), 2));
        seen found;
        const auto running = co_await deploy(endless >> p >> watch(found), options);
        co_await sleep_for(microseconds(draw(2000)));
        co_await running->stop();
        co_await running->join();
        co_return all_came(found, numbers(static_cast<std::size_t>(given->load())));
    });
}

TEST_CASE("D6, lost in the middle: pauses lose nothing and hold the source back") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        auto given = std::make_shared<std::atomic<number>>(0);
        const number length = 300 + draw(100);
        const auto counted = generate([given, length] {
            const number next = (*given)++;
            return next < length ? std::optional<number>(next) : std::nullopt;
        });
        auto options = random_deployment(draw, law_shards);
        options.paused = draw(2) == 0;
        seen found;
        const auto running = co_await deploy(
            counted >> map(plus_one) >> slowly(2, 3) >> shard<2>(map(plus_one)) >> watch(found),
            options);
        std::string said;
        for (std::uint32_t i = 1 + draw(3); i > 0; --i) {
            co_await running->pause();
            const number before = given->load();
            co_await sleep_for(microseconds(draw(500)));
            if (given->load() != before) {
                said = "the source gave while it was paused";
            }
            co_await running->resume();
            co_await sleep_for(microseconds(draw(200)));
        }
        co_await running->join();
        auto expected = numbers(static_cast<std::size_t>(length));
        for (number& each : expected) {
            each += 2;
        }
        co_return said.empty() ? all_came(found, expected) : said;
    });
}

TEST_CASE("D6, lost in the middle: a stop while paused ends with all that was given") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        auto given = std::make_shared<std::atomic<number>>(0);
        const auto endless = generate([given] { return std::optional<number>((*given)++); });
        seen found;
        const auto running =
            co_await deploy(endless >> slowly(3, 10) >> shard<2>(map(plus_one)) >> watch(found),
                            random_deployment(draw, law_shards));
        co_await sleep_for(microseconds(draw(500)));
        co_await running->pause();
        co_await running->stop();
        co_await running->join();
        auto expected = numbers(static_cast<std::size_t>(given->load()));
        for (number& each : expected) {
            ++each;
        }
        co_return all_came(found, expected);
    });
}

TEST_CASE("D7, the end overtakes: it comes after all that slower copies still work on") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        // One copy of three takes all the time, the last element may be its own or another's.
        const auto in = numbers(draw(40));
        const number slow = draw(3);
        const auto unequal = map_async(1 + draw(3), [slow](const number& each) -> future<number> {
            const number kept = each;
            if (kept % 3 == slow) {
                co_await sleep_for(microseconds(100));
            }
            co_return kept;
        });
        const auto options = random_deployment(draw, law_shards);
        seen found;
        co_await run(from_list(in) >> shard<3>(unequal) >> watch(found), options);
        std::string said = all_came(found, in);
        if (said.empty()) {
            seen by_key;
            co_await run(from_list(in) >>
                             shard_by<3>([](const number& each) { return std::size_t(each); },
                                         unequal >> map(plus_one) >>
                                             map([](const number& each) { return each - 1; })) >>
                             watch(by_key),
                         options);
            said = all_came(by_key, in);
        }
        co_return said;
    });
}

TEST_CASE("D7, the end overtakes: it comes after every future that is under way, in any order") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        const auto in = numbers(draw(40));
        const auto last = static_cast<number>(in.size());
        // The first elements take longest.
        const auto backwards =
            map_unordered(1 + draw(20), [last](const number& each) -> future<number> {
                const number kept = each;
                co_await sleep_for(microseconds(3 * (last - kept)));
                co_return kept;
            });
        seen found;
        co_await run(from_list(in) >> backwards >> watch(found),
                     random_deployment(draw, law_shards));
        std::ranges::sort(found.elements);
        co_return all_came(found, in);
    });
}

TEST_CASE("D7, the end overtakes: of two sides of a choice, none hears the end before its last") {
    on_seeds({.threaded = 30}, [](chooser& draw) -> future<std::string> {
        const auto in = numbers(draw(60));
        const auto split = map([](const number& each) {
            return each % 5 == 0 ? either<number, number>(std::in_place_index<0>, each)
                                 : either<number, number>(std::in_place_index<1>, each);
        });
        seen found;
        co_await run(from_list(in) >> split >> merge(slowly(1, 100), id()) >> watch(found),
                     random_deployment(draw, law_shards));
        co_return all_came(found, in);
    });
}
