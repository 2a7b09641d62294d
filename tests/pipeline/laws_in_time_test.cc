// SPDX-License-Identifier: Apache-2.0
// The laws of pipelines that have to do with state, with time and with failure, each by its name,
// over what is drawn at random.
#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/laws.hh>

#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/laws");

using namespace weir::pipeline;
using namespace weir::test;
using weir::future;

namespace {

using fed_pair = std::pair<number, number>;

/// Throws at one element, by its value.
struct fails_at {
    number bad;
    number operator()(const number& each) const {
        if (each == bad) {
            throw std::runtime_error("bad element");
        }
        return each;
    }
};

/// As fails_at, later or at once.
auto fails_late(number bad) {
    return map_async(4, [bad](const number& each) -> future<number> {
        const number kept = each;
        co_await weir::sleep_for(std::chrono::microseconds(mixed(hash(kept)) % 30));
        co_return fails_at{bad}(kept);
    });
}

std::vector<number> count_up(std::size_t length) {
    std::vector<number> list;
    for (std::size_t i = 0; i < length; ++i) {
        list.push_back(static_cast<number>(i));
    }
    return list;
}

/// What comes before the first failure of an input that counts up.
future<outcome<number>> up_to(number bad, std::size_t length) {
    const auto whole = static_cast<number>(length);
    outcome<number> result{count_up(static_cast<std::size_t>(std::min(bad, whole))), bad < whole};
    return weir::make_ready_future<outcome<number>>(std::move(result));
}

}  // namespace

TEST_CASE("a loop is a scan over what came of the element k before") {
    on_seeds([](chooser& draw) {
        const function<fed_pair, number> f{draw(1000)};
        const function<fed_pair, number> next{draw(1000)};
        const auto in = random_input<number>(draw);
        std::vector<number> initial(1 + draw(4));
        for (number& each : initial) {
            each = draw(1000);
        }
        std::vector<number> fed = initial;
        std::vector<number> expected;
        for (std::size_t i = 0; i < in.size(); ++i) {
            const ref<fed_pair> pair{in[i], fed[i]};
            expected.push_back(f(pair));
            fed.push_back(next(pair));
        }
        const auto step = [f, next](const auto& pair) { return std::pair(f(pair), next(pair)); };
        return all_give(draw, expected, in, loop(initial, map(step)),
                        loop(initial, fanout(map(f), map(next))),
                        loop(initial, id() >> map(step) >> both(id(), id())),
                        loop(initial, shard<2>(map(step))));
    });
}

TEST_CASE("a fold is a map that hands its state on") {
    on_seeds([](chooser& draw) {
        const std::uint64_t initial = draw(1000);
        const auto in = random_input<text>(draw);
        std::uint64_t state = initial;
        std::vector<number> expected;
        for (const text& each : in) {
            expected.push_back(state_function<text, number>{}(state, each));
        }
        // The same as a loop of one: its state goes round.
        using stated = std::pair<text, std::uint64_t>;
        const auto round = map([](const ref<stated>& pair) {
            std::uint64_t own = pair.second;
            const number made = state_function<text, number>{}(own, pair.first);
            return std::pair(made, own);
        });
        return all_give(draw, expected, in, fold(initial, state_function<text, number>{}),
                        loop(std::vector<std::uint64_t>{initial}, round));
    });
}

TEST_CASE("a reduce is the last state of a fold") {
    on_seeds([](chooser& draw) {
        const auto in = random_input<number>(draw);
        std::uint64_t state = 7;
        for (const number& each : in) {
            state = mixed(state + hash(each));
        }
        const auto step = [](std::uint64_t& own, const number& each) {
            own = mixed(own + hash(each));
        };
        const auto length = reduce(std::size_t{0}, [](std::size_t& n, const auto&) { ++n; });
        return all_give(draw,
                        std::vector<std::pair<std::uint64_t, std::size_t>>{{state, in.size()}}, in,
                        fanout(reduce(std::uint64_t{7}, step), length));
    });
}

TEST_CASE("sliding: what stands at the end of a loop may stand at its beginning") {
    on_seeds([](chooser& draw) {
        draw.set_total(true);
        const function<fed_pair, fed_pair> body{draw(1000)};
        const function<number, number> k{draw(1000)};
        const auto p = map(body);
        const auto in = random_input<number>(draw);
        std::vector<number> initial(1 + draw(4));
        std::vector<number> slid;
        for (number& each : initial) {
            each = draw(1000);
            slid.push_back(k(each));
        }
        const auto late_k = map_async(2, late_function<number, number>{k.salt});
        return same(draw, in, loop(slid, p >> both(id(), map(k))),
                    loop(initial, both(id(), map(k)) >> p), loop(slid, p >> both(id(), late_k)),
                    loop(initial, both(id(), late_k) >> p));
    });
}

TEST_CASE("futures in order: a map_async is the map, in whatever order its futures end") {
    on_seeds([](chooser& draw) {
        const function<number, text> f{draw(1000)};
        const std::uint64_t salt = draw(1000);
        const std::uint64_t longest_us = 1 + draw(60);
        const auto later = [f, salt, longest_us](const number& each) -> future<text> {
            const number kept = each;
            const std::uint64_t us = mixed(hash(kept) + salt) % longest_us;
            if (us != 0) {
                co_await weir::sleep_for(std::chrono::microseconds(us));
            }
            co_return f(kept);
        };
        const auto in = random_input<number>(draw);
        return same(draw, in, map(f), map_async(1, later), map_async(2 + draw(6), later),
                    map_async(256, later), shard<2>(map_async(3, later)),
                    map_async(3, late_function<number, text>{f.salt}));
    });
}

TEST_CASE("futures in any order: a map_unordered gives each element of the map once") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const function<number, text> f{draw(1000)};
        const auto later = [f](const number& each) -> future<text> {
            const number kept = each;
            co_await weir::sleep_for(std::chrono::microseconds(mixed(hash(kept)) % 60));
            co_return f(kept);
        };
        const auto in = random_input<number>(draw);
        auto expected = co_await modelled(describe<number>(map(f)), in);
        const auto p = describe<number>(map_unordered(1 + draw(8), later) >>
                                        map([](const text& each) { return each; }));
        const auto options = random_deployment(draw, law_shards);
        auto found = co_await deployed(p, in, options);
        std::ranges::sort(expected.values);
        std::ranges::sort(found.values);
        co_return difference(found, expected);
    });
}

TEST_CASE("failure: everything before the lowest failing element arrives, and nothing after") {
    on_seeds([](chooser& draw) {
        const std::size_t length = draw(60);
        const auto in = count_up(length);
        const number a = draw(70);
        const number b = draw(70);
        const auto halves = map([](const auto& pair) { return number(pair.first); });
        const auto sides = map([](const number& each) {
            using sided = either<number, number>;
            return mixed(hash(each)) % 2 == 0 ? sided(std::in_place_index<0>, each)
                                              : sided(std::in_place_index<1>, each);
        });
        const auto fed = map([](const auto& pair) { return fed_pair(pair.first, pair.second); });
        return all_give<number>(
            draw, up_to(std::min(a, b), length), in, map(fails_at{a}) >> map(fails_at{b}),
            map(fails_at{a}) >> fails_late(b), fails_late(a) >> fails_late(b),
            fanout(map(fails_at{a}), fails_late(b)) >> halves,
            fanout(fails_late(a), map(fails_at{b})) >> halves,
            shard<2>(fails_late(a) >> map(fails_at{b})),
            shard<3>(map(fails_at{b}), 4) >> shard<2>(map(fails_at{a})),
            sides >> merge(map(fails_at{a}) >> map(fails_at{b}), fails_late(a) >> fails_late(b)),
            sides >> choose(fails_late(b), map(fails_at{b})) >>
                merge(map(fails_at{a}), map(fails_at{a})),
            loop(std::vector<number>{1, 2}, fed >> both(map(fails_at{std::min(a, b)}), id())),
            shard_by<2>([](const number& each) { return hash(each); },
                        fold(0, [a, b](int&, const number& each) {
                            return fails_at{a}(fails_at{b}(each));
                        })));
    });
}

TEST_CASE("failure: of a function that counts calls, at the same element however it is deployed") {
    on_seeds([](chooser& draw) {
        const std::size_t length = draw(60);
        const auto last = static_cast<number>(draw(70));
        const auto counting = fold(number{0}, [last](number& calls, const number& each) {
            if (calls++ == last) {
                throw std::runtime_error("enough");
            }
            return each;
        });
        return all_give<number>(
            draw, up_to(last, length), count_up(length), counting, counting >> id(),
            fanout(counting, id()) >> map([](const auto& p) { return number(p.first); }),
            counting >> shard<2>(map(fails_at{last})));
    });
}

namespace {

/// A sink that takes a few elements, then none for a while.
class draining_sink final : public sink {
  public:
    draining_sink(std::vector<number>& into, std::size_t at_once, weir::duration pause)
        : _into(into), _at_once(at_once), _pause(pause) {}

    std::size_t take(const lane* in, std::size_t n) override {
        const std::size_t count = std::min(n, _left);
        for (std::size_t i = 0; i < count; ++i) {
            _into.push_back(shape<number>::load(in, i));
        }
        _left -= count;
        return count;
    }
    future<> wait() override {
        co_await weir::sleep_for(_pause);
        _left = _at_once;
    }

  private:
    std::vector<number>& _into;
    const std::size_t _at_once;
    const weir::duration _pause;
    std::size_t _left = 0;
};

auto drain(std::vector<number>& into, std::size_t at_once, weir::duration pause) {
    return sink_for{"draining", [&into, at_once, pause]<typename T>() {
                        return std::function<std::unique_ptr<sink>()>([&into, at_once, pause] {
                            return std::make_unique<draining_sink>(into, at_once, pause);
                        });
                    }};
}

}  // namespace

TEST_CASE("fair progress: as long as the sink drains, everything arrives, however slowly") {
    on_seeds([](chooser& draw) -> future<std::string> {
        draw.set_total(true);
        const auto p = random_stateful<number, number>(draw, draw(3));
        const auto in = random_input<number>(draw);
        const auto expected = co_await modelled(p, in);
        outcome<number> found;
        co_await run(from_list(in) >> p >>
                         drain(found.values, 1 + draw(5), std::chrono::microseconds(draw(50))),
                     random_deployment(draw, law_shards));
        co_return difference(found, expected);
    });
}

TEST_CASE("fair progress: a pipeline without end does not starve another one on its shards") {
    on_seeds({.worlds = 6, .draws = 2}, [](chooser& draw) -> future<std::string> {
        draw.set_total(true);
        const auto endless = generate([] { return std::optional<number>(1); });
        const auto options = random_deployment(draw, law_shards);
        const auto busy = co_await deploy(
            endless >> shard<2>(map([](const number& each) { return each + 1; })) >> discard(),
            options);
        const auto p = random_stateful<number, number>(draw, draw(3));
        const auto in = random_input<number>(draw);
        const auto expected = co_await modelled(p, in);
        const auto found = co_await deployed(p, in, options);
        co_await busy->stop();
        co_await busy->join();
        co_return difference(found, expected);
    });
}
