// SPDX-License-Identifier: Apache-2.0
// The laws of pipelines, each by its name, over what is drawn at random: both sides give the same,
// as models and deployed. Laws of state, time and failure are in laws_in_time_test.cc.
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/laws.hh>

#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/laws");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using namespace weir::test;
using weir::future;

namespace {

constexpr auto first_half = [](const auto& each) {
    return std::decay_t<decltype(each.first)>(each.first);
};
constexpr auto second_half = [](const auto& each) {
    return std::decay_t<decltype(each.second)>(each.second);
};

/// One side of an either: what `left` and `right` of a type make.
constexpr auto to_left = [](const number& each) { return option(std::in_place_index<0>, each); };
constexpr auto to_right = [](const text& each) { return option(std::in_place_index<1>, each); };

/// An either as it is, whatever its type was.
constexpr auto untagged = [](const auto& each) {
    return std::visit([](const auto& held) { return held.get(); }, each);
};

}  // namespace

TEST_CASE("identity: id before or after a pipeline changes nothing") {
    on_seeds([](chooser& draw) {
        const auto p = random_whole<number, text>(draw, draw(3));
        const auto in = random_input<number>(draw);
        return same(draw, in, p, id() >> p, p >> id(), id() >> id() >> p >> id());
    });
}

TEST_CASE("associativity: it does not matter which two of three pipelines are joined first") {
    on_seeds([](chooser& draw) {
        const auto p = random_whole<number, text>(draw, 1);
        const auto q = random_whole<text, number>(draw, 1);
        const auto r = random_whole<number, text>(draw, draw(2));
        const auto in = random_input<number>(draw);
        return same(draw, in, (p >> q) >> r, p >> (q >> r));
    });
}

TEST_CASE("composition: p >> q gives what q gives of what p gave") {
    on_seeds([](chooser& draw) -> future<std::string> {
        draw.set_total(true);
        const auto p = random_whole<number, text>(draw, 1);
        const auto q = random_whole<text, number>(draw, 1);
        const auto in = random_input<number>(draw);
        const auto options = random_deployment(draw, law_shards);
        auto between = co_await deployed(p, in, options);
        auto expected = deployed(q, std::move(between.values), options);
        co_return co_await all_give<number>(draw, std::move(expected), in, p >> q);
    });
}

TEST_CASE("fusion: maps one after the other are the map of their functions, fused or not") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const function<number, text> f{draw(1000)};
        const function<text, couple> g{draw(1000)};
        const function<couple, number> h{draw(1000)};
        const auto in = random_input<number>(draw);
        const auto whole = describe<number>(map([f, g, h](const number& each) {
            const couple pair = g(f(each));
            return h({pair.first, pair.second});
        }));
        const auto parts = describe<number>(map(f) >> map(g) >> map(h));
        const auto expected = co_await modelled(whole, in);
        auto options = random_deployment(draw, law_shards);
        for (const auto how : {placement::policy::spread, placement::policy::pack}) {
            for (const bool fuse : {false, true}) {
                options.where.how = how;
                options.fuse = fuse;
                if (std::string said = co_await hold(parts, in, expected, options); !said.empty()) {
                    co_return said;
                }
            }
        }
        co_return co_await same(draw, in, whole, parts);
    });
}

TEST_CASE("the map of a function that changes nothing is id") {
    on_seeds([](chooser& draw) {
        const auto in = random_input<text>(draw);
        return same(draw, in, id(), map([](const text& each) { return each; }),
                    shard<3>(map([](const text& each) { return each; }), 1 + draw(3)));
    });
}

TEST_CASE("interchange: both of joined pipelines is joined boths") {
    on_seeds([](chooser& draw) {
        const auto f = random_stateful<number, text>(draw, draw(2));
        const auto g = random_stateful<text, number>(draw, draw(2));
        const auto h = random_stateful<text, number>(draw, draw(2));
        const auto k = random_stateful<number, text>(draw, draw(2));
        const auto in = random_input<couple>(draw);
        return same(draw, in, both(f, g) >> both(h, k), both(f >> h, g >> k),
                    both(f, id()) >> both(id(), g) >> both(h, k),
                    both(id(), g >> k) >> both(f >> h, id()));
    });
}

TEST_CASE("a fanout is both after each element was doubled") {
    on_seeds([](chooser& draw) {
        const auto f = random_stateful<number, text>(draw, draw(3));
        const auto g = random_stateful<number, number>(draw, draw(3));
        const auto in = random_input<number>(draw);
        const auto doubled = map([](const number& each) { return std::pair(each, each); });
        return same(draw, in, fanout(f, g), fanout(id(), id()) >> both(f, g), doubled >> both(f, g),
                    fanout(f, id()) >> both(id(), g));
    });
}

TEST_CASE("projections: a half of a fanout is what gave that half") {
    on_seeds([](chooser& draw) -> future<std::string> {
        draw.set_total(true);
        const auto f = random_stateful<number, text>(draw, draw(3));
        const auto g = random_stateful<number, number>(draw, draw(3));
        const auto in = random_input<number>(draw);
        std::string said = co_await same(draw, in, f, fanout(f, g) >> map(first_half));
        if (said.empty()) {
            said = co_await same(draw, in, g, fanout(f, g) >> map(second_half));
        }
        co_return said;
    });
}

TEST_CASE("projections: a half of both is what one pipeline gives of that half") {
    on_seeds([](chooser& draw) -> future<std::string> {
        draw.set_total(true);
        const auto f = random_stateful<number, text>(draw, draw(3));
        const auto g = random_stateful<text, number>(draw, draw(3));
        const auto in = random_input<couple>(draw);
        std::string said =
            co_await same(draw, in, map(first_half) >> f, both(f, g) >> map(first_half));
        if (said.empty()) {
            said = co_await same(draw, in, map(second_half) >> g, both(f, g) >> map(second_half));
        }
        co_return said;
    });
}

TEST_CASE("choose is a functor: of ids it is id, joined ones are one of joined sides") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto f = random_stateful<number, number>(draw, draw(2));
        const auto g = random_stateful<text, text>(draw, draw(2));
        const auto h = random_stateful<number, number>(draw, draw(2));
        const auto k = random_stateful<text, text>(draw, draw(2));
        const auto in = random_input<option>(draw);
        std::string said = co_await same(draw, in, id(), choose(id(), id()));
        if (said.empty()) {
            said = co_await same(draw, in, choose(f, g) >> choose(h, k), choose(f >> h, g >> k),
                                 choose(f, id()) >> choose(id(), g) >> choose(h, k));
        }
        co_return said;
    });
}

TEST_CASE("merge is choose with the tags left out") {
    on_seeds([](chooser& draw) {
        const auto f = random_stateful<number, number>(draw, draw(3));
        const auto g = random_stateful<text, number>(draw, draw(3));
        const auto in = random_input<option>(draw);
        return same(draw, in, merge(f, g), choose(f, g) >> merge(id(), id()),
                    choose(f, g) >> map(untagged));
    });
}

TEST_CASE("merge of elements that all are on one side is that side's pipeline") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto f = random_stateful<number, text>(draw, draw(3));
        const auto g = random_stateful<text, text>(draw, draw(3));
        const auto lefts = random_input<number>(draw);
        std::string said = co_await same(draw, lefts, f, map(to_left) >> merge(f, g));
        if (said.empty()) {
            const auto rights = random_input<text>(draw);
            said = co_await same(draw, rights, g, map(to_right) >> merge(f, g));
        }
        co_return said;
    });
}

TEST_CASE("what follows a merge may stand in both of its sides, if it has no state") {
    on_seeds([](chooser& draw) {
        const auto f = random_stateful<number, text>(draw, draw(2));
        const auto g = random_stateful<text, text>(draw, draw(2));
        const auto h = random_pure<text, number>(draw, draw(2));
        const auto in = random_input<option>(draw);
        return same(draw, in, merge(f, g) >> h, merge(f >> h, g >> h));
    });
}

TEST_CASE("order of merges: elements come in the order of the tags, however these lie") {
    on_seeds([](chooser& draw) {
        // All left, all right, in turn, in runs shorter and longer than rings, and at random.
        const std::size_t run = std::size_t{1} << draw(7);
        const std::uint32_t kind = draw(5);
        std::vector<option> in;
        std::vector<text> expected;
        const std::size_t length = draw(100);
        for (std::size_t i = 0; i < length; ++i) {
            const bool left = kind == 0   ? true
                              : kind == 1 ? false
                              : kind == 4 ? draw(2) == 0
                                          : i / (kind == 2 ? 1 : run) % 2 == 0;
            const auto n = static_cast<number>(i);
            in.push_back(left ? option(std::in_place_index<0>, n)
                              : option(std::in_place_index<1>, std::to_string(n) + "r"));
            expected.push_back(std::to_string(n) + (left ? "l" : "r"));
        }
        const auto left = map([](const number& each) { return std::to_string(each) + "l"; });
        const auto late = map_async(3, [](const text& each) -> future<text> {
            text kept = each;
            co_await weir::sleep_for(std::chrono::microseconds(hash(kept) % 20));
            co_return kept;
        });
        return all_give(draw, expected, in, merge(left, id()), merge(left, late),
                        merge(shard<2>(left), id() >> late), choose(left, late) >> map(untagged),
                        choose(left, id()) >> merge(late, shard<3>(late, 2)));
    });
}

TEST_CASE("presence: filtering gives the same wherever it stands and whatever lies around it") {
    on_seeds([](chooser& draw) {
        const function<number, text> f{draw(1000)};
        const std::uint64_t salt = draw(1000);
        const auto keep = [salt](const text& each) { return mixed(hash(each) + salt) % 3 != 0; };
        const auto keep_before = [f, keep](const number& each) { return keep(f(each)); };
        const auto keep_first = [keep](const auto& each) { return keep(each.first); };
        const auto in = random_input<number>(draw);
        return same(draw, in, filter(keep_before) >> map(f), map(f) >> filter(keep),
                    shard<2>(map(f)) >> filter(keep), filter(keep_before) >> shard<3>(map(f), 2),
                    fanout(map(f), id()) >> filter(keep_first) >> map(first_half),
                    flat_map([f, keep](const number& each) {
                        const text made = f(each);
                        return std::vector<text>(keep(made) ? 1 : 0, made);
                    }),
                    map(f) >> filter(keep) >> filter(keep) >> id());
    });
}

TEST_CASE("filters one after the other are the filter of both conditions") {
    on_seeds([](chooser& draw) {
        const std::uint64_t salt = draw(1000);
        const auto third = [salt](const text& each) { return (hash(each) + salt) % 3 != 0; };
        const auto fifth = [salt](const text& each) { return (hash(each) + salt) % 5 > 1; };
        const auto in = random_input<text>(draw);
        return same(draw, in,
                    filter([third, fifth](const text& each) { return third(each) && fifth(each); }),
                    filter(third) >> filter(fifth), filter(fifth) >> id() >> filter(third));
    });
}

TEST_CASE("copies: a sharded pipeline is the pipeline, dealt by place") {
    on_seeds([](chooser& draw) {
        const auto p = random_pure<number, text>(draw, draw(3));
        const auto in = random_input<number>(draw);
        return same(draw, in, p, shard<1>(p), shard<2>(p), shard<3>(p), shard<5>(p));
    });
}

TEST_CASE("copies: a sharded pipeline is the pipeline, dealt in blocks") {
    on_seeds([](chooser& draw) {
        const auto p = random_pure<number, text>(draw, draw(3));
        const auto in = random_input<number>(draw);
        return same(draw, in, p, shard<2>(p, 2 + draw(3)), shard<3>(p, 2 + draw(7)),
                    shard<4>(p, 64));
    });
}

TEST_CASE("copies: a sharded pipeline is the pipeline, dealt by key") {
    on_seeds([](chooser& draw) {
        const auto p = random_pure<text, number>(draw, draw(3));
        const auto in = random_input<text>(draw);
        const std::uint64_t salt = draw(1000);
        return same(draw, in, p,
                    shard_by<2>([salt](const text& each) { return mixed(hash(each) + salt); }, p),
                    shard_by<5>([](const text& each) { return each.size(); }, p),
                    shard_by<3>([](const text&) { return 1U; }, p));
    });
}

TEST_CASE("copies: of copies, and of the parts of what is copied, are the pipeline too") {
    on_seeds([](chooser& draw) {
        const auto p = random_pure<number, text>(draw, draw(2));
        const auto q = random_pure<text, number>(draw, draw(2));
        const auto in = random_input<number>(draw);
        const std::size_t block = 1 + draw(4);
        return same(draw, in, p >> q, shard<2>(shard<2>(p)) >> q, shard<2>(shard<3>(p, block) >> q),
                    shard<3>(p, block) >> shard<2>(q), shard<2>(shard<2>(p >> q, block), 2),
                    shard_by<2>([](const number& each) { return static_cast<std::size_t>(each); },
                                shard<2>(p >> q)));
    });
}
