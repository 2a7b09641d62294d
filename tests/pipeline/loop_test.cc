// SPDX-License-Identifier: Apache-2.0
// Programs whose types are visible from the source to the sink: on one shard they are one loop.
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <pipeline/laws.hh>
#include <support/both.hh>

#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/loop");

using namespace weir::pipeline;
using namespace weir::test;
using weir::future;
using weir::pipeline::shard;  // hides weir's

namespace {

const deploy_options packed{.where = {.how = placement::policy::pack}};

auto counting(int count) {
    return generate(
        [i = 0, count]() mutable { return i < count ? std::optional<int>(i++) : std::nullopt; });
}
constexpr auto odd = [](int i) { return i % 2 == 1; };
constexpr auto twice = [](int i) { return 2 * i; };
constexpr auto add = [](int& sum, int i) { sum += i; };

std::size_t stages(weir::pipeline::program what, deploy_options options, unsigned shards = 1) {
    return lay_out(std::move(what), std::move(options), shards).stages.size();
}

template <typename A, typename B>
auto fragile(chooser& draw) {
    return map(fragile_function<A, B>{draw(1000)});
}
template <typename A, typename B>
auto folded(chooser& draw) {
    return fold(std::uint64_t{draw(1000)}, state_function<A, B>{});
}
template <typename A>
auto summed() {
    return reduce(number{0}, [](number& sum, const ref<A>& each) {
        sum = static_cast<number>(mixed(hash(each) + static_cast<std::uint64_t>(sum)) % 1000);
    });
}
constexpr auto even_hash = [](const auto& each) { return hash(each) % 2 == 0; };

}  // namespace

TEST_CASE("a visible program gives what its model gives, wherever it is laid") {
    on_seeds([](chooser& draw) -> future<std::string> {
        const auto in = random_input<number>(draw);
        std::string said =
            co_await same(draw, in,
                          random_map<number, text>(draw) >> filter(even_hash) >>
                              folded<text, couple>(draw) >> fragile<couple, option>(draw));
        if (said.empty()) {
            said = co_await same(
                draw, in,
                fanout(random_map<number, number>(draw), id() >> fragile<number, text>(draw)) >>
                    both(folded<number, number>(draw), id()) >> fragile<couple, option>(draw));
        }
        if (said.empty()) {
            said = co_await same(draw, in,
                                 shard<2>(random_map<number, option>(draw) >>
                                          shard<3>(random_map<option, text>(draw), 2)) >>
                                     filter(even_hash) >> summed<text>() >>
                                     folded<number, couple>(draw));
        }
        if (said.empty()) {
            said = co_await same(
                draw, in,
                filter(even_hash) >> fanout(fragile<number, couple>(draw) >> summed<couple>(),
                                            fanout(summed<number>(), id() >> summed<number>())));
        }
        if (said.empty()) {
            const auto ignore = [](number, const std::exception_ptr&) {};
            said = co_await same(
                draw, in,
                skip(fragile<number, text>(draw), ignore) >>
                    shard<2>(retry(draw(4), map(flaky_function<text, couple>{draw(1000)}))) >>
                    restart(fold(std::uint64_t{7}, fragile_state_function<couple, option>{})));
        }
        co_return said;
    });
}

TEST_CASE("what lies on one shard is one stage, unless it may not fuse or can't be seen") {
    std::vector<int> out;
    const auto visible = counting(9) >> map(twice) >> shard<2>(map(twice)) >> collect(out);
    CHECK(stages(visible, packed) == 1);
    CHECK(stages(visible, {}, 2) == 5);
    CHECK(stages(visible, packed, 2) == 5);  // a copy lies on the other shard
    deploy_options apart = packed;
    apart.fuse = false;
    CHECK(stages(visible, apart) == 5);
    const plan laid = lay_out(visible, packed, 1);
    CHECK(laid.stages[0].name == "generate+map+map+map+collect");
    CHECK(laid.stages[0].numbers == std::vector<unsigned>{0, 1, 2, 3, 4});

    const source_of<int> from = counting(9);
    CHECK(stages(from >> map(twice) >> collect(out), packed) == 3);
    CHECK(stages(from >> collect(out), packed) == 2);
    CHECK(stages(counting(9) >> collect(out), packed) == 1);
    const auto late = map_async(2, [](int i) { return weir::make_ready_future<int>(int(i)); });
    CHECK(stages(counting(9) >> late >> collect(out), packed) == 3);
    const auto ignore = [](int, const std::exception_ptr&) {};
    CHECK(stages(counting(9) >> skip(retry(1, map(twice)), ignore) >>
                     restart(fold(0, [](int& sum, int i) { return sum += i; })) >> collect(out),
                 packed) == 1);
}

TEST_CASE("neighbours that are visible have one kernel") {
    const source_of<int> from = counting(9);
    std::vector<int> out;
    const weir::pipeline::program what =
        from >> map(twice) >> filter(odd) >> map(twice) >> reduce(0, add) >> collect(out);
    const auto kernels = [&](std::vector<weir::shard_id> shards) {
        std::vector<std::size_t> counts;
        const plan laid = lay_out(
            what, {.where = {.how = placement::policy::listed, .shards = std::move(shards)}}, 2);
        for (std::size_t i = 1; i + 1 < laid.stages.size(); ++i) {
            counts.push_back(laid.stages[i].nodes.size());
        }
        return counts;
    };
    CHECK(kernels({0, 0, 0, 0, 0, 0}) == std::vector<std::size_t>{1});
    CHECK(kernels({0, 0, 0, 1, 1, 1}) == std::vector<std::size_t>{1, 2});  // there is no such loop
    CHECK(kernels({0, 1, 0, 1, 0, 1}) == std::vector<std::size_t>{1, 1, 1, 1});
}

TEST_CASE("a loop fails at the first element that somebody fails at, after those before it") {
    on_both([](weir::host&) -> future<> {
        for (const int who : {0, 1, 2}) {
            const auto bad = [who](int place, int i) {
                if (place == who && i == 1000) {
                    throw std::runtime_error("bad");
                }
            };
            std::vector<int> taken;
            std::string what;
            const auto from = generate([i = 0, bad]() mutable {
                bad(0, i);
                return std::optional<int>(i++);
            });
            const auto on = map([bad](int i) {
                bad(1, i);
                return i;
            });
            const auto to = for_each([bad, &taken](int i) {
                bad(2, i);
                taken.push_back(i);
            });
            const auto run = co_await deploy(from >> on >> to, packed);
            try {
                co_await run->join();
            } catch (const std::runtime_error& failure) {
                what = failure.what();
            }
            CHECK(what == "bad");
            CHECK(taken.size() == 1000);
            CHECK((co_await run->sample())[0].counted.elements == 1000);
        }
    });
}

TEST_CASE("a loop pauses, goes on and stops, and gives what it kept when it is stopped") {
    on_both([](weir::host&) -> future<> {
        std::vector<int> out;
        deploy_options options = packed;
        options.paused = true;
        const auto endless = generate([] { return std::optional<int>(1); });
        const auto run = co_await deploy(
            endless >> fanout(reduce(0, add), map(twice) >> reduce(0, add)) >>
                for_each([&out](const auto& sums) { out = {sums.first, sums.second}; }),
            options);
        CHECK(run->laid_out().stages.size() == 1);
        CHECK((co_await run->sample())[0].counted.elements == 0);
        co_await run->resume();
        while ((co_await run->sample())[0].counted.elements == 0) {
            co_await weir::yield();
        }
        co_await run->pause();
        const auto paused_at = (co_await run->sample())[0].counted.elements;
        co_await weir::sleep_for(std::chrono::milliseconds(1));
        CHECK((co_await run->sample())[0].counted.elements == paused_at);
        co_await run->stop();
        co_await run->join();
        REQUIRE(out.size() == 2);
        CHECK(out[0] == static_cast<int>(paused_at));
        CHECK(out[1] == 2 * out[0]);
    });
}

TEST_CASE("what was stopped ends, whoever pauses it afterwards") {
    on_both([](weir::host&) -> future<> {
        for (const bool fuse : {true, false}) {
            deploy_options options = packed;
            options.fuse = fuse;
            options.paused = true;
            int sum = 0;
            const auto run =
                co_await deploy(generate([] { return std::optional<int>(1); }) >> reduce(7, add) >>
                                    for_each([&sum](int all) { sum = all; }),
                                options);
            co_await run->stop();
            co_await run->pause();
            co_await run->join();
            CHECK(sum == 7);
        }
    });
}

TEST_CASE("what passes through a loop is neither copied nor moved") {
    struct rare {
        explicit rare(int n) : number(n) {}
        rare(const rare& other) : number(other.number), made(other.made + 1) {}
        rare(rare&& other) noexcept : number(other.number), made(other.made + 1) {}
        int number;
        int made = 0;  // of another one
    };
    on_both([](weir::host&) -> future<> {
        int seen = 0;
        co_await run(generate([i = 0]() mutable {
                         return i < 5 ? std::optional<rare>(std::in_place, i++) : std::nullopt;
                     }) >>
                         fanout(id(), map([](const rare& each) { return &each; })) >>
                         for_each([&seen](const std::pair<const rare&, const rare* const&>& both) {
                             CHECK(&both.first == both.second);
                             CHECK(both.first.made == 0);
                             CHECK(both.first.number == seen++);
                         }),
                     packed);
        CHECK(seen == 5);
    });
}

TEST_SUITE_END();
