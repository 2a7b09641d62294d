// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/pipeline/pipeline.hh>

using namespace weir;
using namespace weir::pipeline;

namespace {

using shards = std::vector<shard_id>;

program five_stages(std::vector<int>& out, int count = 10) {
    const source_of<int> from = generate(
        [i = 0, count]() mutable { return i < count ? std::optional<int>(i++) : std::nullopt; });
    return from >> map([](int i) { return i + 1; }) >> map([](int i) { return 2 * i; }) >>
           map([](int i) { return i - 1; }) >> collect(out);
}

/// Samples as of a run whose stages used so many microseconds for each of a hundred elements, of
/// which one in ten was timed.
std::vector<stage_sample> samples(const std::vector<int>& costs) {
    std::vector<stage_sample> made;
    for (const int cost : costs) {
        stage_sample& each = made.emplace_back();
        each.stage = static_cast<unsigned>(made.size() - 1);
        each.counted.elements = 100;
        each.counted.sampled_elements = 10;
        each.counted.service = std::chrono::microseconds(10 * cost);
    }
    return made;
}

plan laid(bool fuse) {
    std::vector<int> unused;
    return lay_out(five_stages(unused), {.where = {.how = placement::policy::pack}, .fuse = fuse},
                   4);
}

template <typename Fn>
std::string why_not(Fn fn) {
    try {
        fn();
    } catch (const error& failure) {
        return failure.what();
    }
    return "";
}

}  // namespace

TEST_SUITE("pipeline/balance") {
    TEST_CASE("the busiest shard gets as little as neighbours that stay together allow") {
        const plan unfused = laid(false);
        const auto on = [&](const std::vector<int>& costs, unsigned count) {
            return balance(unfused, samples(costs), count).shards;
        };
        CHECK(on({1, 10, 1, 10, 1}, 1) == shards{0, 0, 0, 0, 0});
        CHECK(on({1, 10, 1, 9, 1}, 2) == shards{0, 0, 1, 1, 1});
        CHECK(on({1, 1, 1, 1, 20}, 3) == shards{0, 0, 0, 0, 1});
        CHECK(on({5, 5, 5, 5, 5}, 4) == shards{0, 0, 1, 1, 2});
        CHECK(on({0, 0, 7, 0, 0}, 4) == shards{0, 0, 0, 0, 0});
    }

    TEST_CASE("the parts of a fused stage count as equals") {
        const plan fused = laid(true);
        REQUIRE(fused.stages.size() == 3);
        CHECK(fused.stages[1].numbers == std::vector<unsigned>{1, 2, 3});
        CHECK(balance(fused, samples({0, 30, 0}), 3).shards == shards{0, 0, 1, 2, 2});
    }

    TEST_CASE("a stage that worked and was never timed is named, one without elements is free") {
        auto measured = samples({1, 10, 1, 10, 1});
        measured[3].counted.sampled_elements = 0;
        measured[3].counted.service = {};
        const plan unfused = laid(false);
        CHECK(
            why_not([&] {
                balance(unfused, measured, 2);
            }).find("balance " + unfused.stages[3].name + ": none of its 100 elements was timed") ==
            0);
        measured[3].counted.elements = 0;
        CHECK(balance(unfused, measured, 2).shards == shards{0, 0, 1, 1, 1});
    }

    TEST_CASE("what was placed by name stays there") {
        std::vector<int> unused;
        const auto described = [&] {
            return from_list(std::vector<int>{1, 2}) >>
                   named("here", map([](int i) { return i; })) >> collect(unused);
        };
        const plan first = lay_out(described(), {.where = {.base = 1, .named = {{"here", 3}}}}, 4);
        const placement where = balance(first, samples({1, 1, 1}), 2);
        CHECK(where.base == 1);
        CHECK(where.shards == shards{0, 0, 1});
        const plan again = lay_out(described(), {.where = where}, 4);
        REQUIRE(again.stages.size() == 3);
        CHECK(again.stages[0].shard == 0);
        CHECK(again.stages[1].shard == 3);
        CHECK(again.stages[2].shard == 1);
    }

    TEST_CASE("what was not timed can't be balanced, and a list must fit its program") {
        CHECK(why_not([] {
                  balance(laid(false), samples({0, 0, 0, 0, 0}), 2);
              }).find("no stage was timed") != std::string::npos);
        const auto with = [](shards list) {
            return why_not([&] {
                std::vector<int> unused;
                lay_out(five_stages(unused),
                        {.where = {.how = placement::policy::listed, .shards = list}}, 2);
            });
        };
        CHECK(with({0, 1, 0, 1, 0}).empty());
        CHECK(with({0, 1}).find("5 stages by a list of 2") != std::string::npos);
        CHECK(with({0, 1, 2, 1, 0}).find("shard 2 of 2") != std::string::npos);
    }

    TEST_CASE("a program that was measured runs again where its costs put it") {
        test::on_kernel(
            [](host&) -> future<> {
                constexpr int count = 20'000;
                std::vector<int> first;
                const auto measured =
                    co_await deploy(five_stages(first, count), {.fuse = false, .paused = true});
                co_await measured->sample();  // from now on stages are timed
                co_await measured->resume();
                co_await measured->join();
                const placement where =
                    balance(measured->laid_out(), co_await measured->sample(), 2);
                CHECK(where.shards.size() == 5);
                CHECK(where.shards.back() == 1);
                std::vector<int> again;
                co_await run(five_stages(again, count), {.where = where});
                CHECK(again == first);
            },
            2);
    }
}
