// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/io/system_clock.hh>
#include <weir/pipeline/pipeline.hh>

TEST_SUITE_BEGIN("pipeline/deploy");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::on_both;

namespace {

std::vector<int> numbers(int count) {
    std::vector<int> list(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
        list[static_cast<std::size_t>(i)] = i;
    }
    return list;
}

/// Deploys in several ways and holds what comes out against the model.
template <typename A, combinator P>
void obeys_the_law(const P& described, std::vector<A> in, unsigned shards = 3) {
    const auto p = describe<A>(described);
    using B = typename std::decay_t<decltype(p)>::result;
    on_both(
        [p, in](host&) -> future<> {
            const listed<B> expected = co_await model(p, in);
            for (const std::size_t capacity : {1, 2, 8, 64}) {
                for (const auto how : {placement::policy::spread, placement::policy::pack}) {
                    for (const unsigned polls : {0, 200}) {
                        std::vector<B> out;
                        co_await run(from_list(in) >> p >> collect(out), {.where = {.how = how},
                                                                          .capacity = capacity,
                                                                          .batch = 16,
                                                                          .polls = polls});
                        CHECK(out == expected.values);
                    }
                }
            }
        },
        shards);
}

}  // namespace

TEST_CASE("batches become small where elements take long, and large where they are quick") {
    const auto batches_of = [](auto work, int count) -> future<std::uint64_t> {
        std::vector<int> out;
        const auto run =
            co_await deploy(from_list(numbers(count)) >> map(work) >> collect(out),
                            {.where = {.how = placement::policy::pack}, .fuse = false});
        co_await run->join();
        CHECK(out == numbers(count));
        co_return (co_await run->sample())[1].counted.batches;
    };
    weir::test::on_kernel([&](weir::host&) -> future<> {
        const auto slow = [](int i) {
            const auto start = weir::io::thread_cpu_time();
            while (weir::io::thread_cpu_time() - start < std::chrono::milliseconds(1)) {
            }
            return i;
        };
        CHECK(co_await batches_of(slow, 64) >= 64);  // one each, from the first on
    });
    weir::test::on_simulator([&](weir::host&) -> future<> {
        CHECK(co_await batches_of([](int i) { return i; }, 20'000) < 200);
    });
}

TEST_CASE("a map gives the function of each element") {
    obeys_the_law(map([](int i) { return i * 2; }), numbers(101));
}

TEST_CASE("stages that follow one another give what the functions give one after the other") {
    obeys_the_law(map([](int i) { return i + 1; }) >>
                      map([](int i) { return std::to_string(i); }) >>
                      map([](const std::string& s) { return s + "!"; }),
                  numbers(77));
}

TEST_CASE("a fanout puts two results side by side") {
    obeys_the_law(fanout(id(), map([](int i) { return std::to_string(i); })) >>
                      map([](const auto& p) { return std::to_string(p.first) + p.second; }),
                  numbers(50));
}

TEST_CASE("both works on the halves of pairs") {
    obeys_the_law(
        map([](int i) { return std::pair(i, std::to_string(i)); }) >>
            both(map([](int i) { return -i; }), map([](const std::string& s) { return s + s; })),
        numbers(33));
}

TEST_CASE("shards give what one stage gives, for even and odd lengths") {
    for (const int length : {0, 1, 2, 7, 64, 65}) {
        obeys_the_law(shard<2>(map([](int i) { return i * 3; })), numbers(length));
        obeys_the_law(shard<3>(map([](int i) { return i * 3; }), 4) >>
                          shard<2>(map([](int i) { return std::to_string(i); })),
                      numbers(length));
        obeys_the_law(shard<2>(shard<2>(map([](int i) { return i + 5; }) >>
                                        map([](int i) { return std::to_string(i); }))),
                      numbers(length));
    }
}

TEST_CASE("a choice keeps the order of its input") {
    const auto split = map([](int i) {
        return i % 3 == 0 ? either<int, std::string>(i)
                          : either<int, std::string>(std::to_string(i));
    });
    obeys_the_law(split >> merge(map([](int i) { return i; }),
                                 map([](const std::string& s) { return int(s.size()); })),
                  numbers(100));
    obeys_the_law(split >> choose(map([](int i) { return i + 1; }) >>
                                      shard<2>(map([](int i) { return i * 2; })),
                                  map([](const std::string& s) { return s + s; })) >>
                      merge(map([](int i) { return std::to_string(i); }), id()),
                  numbers(100));
}

TEST_CASE("state goes with the key") {
    obeys_the_law(shard_by<3>([](int i) { return static_cast<unsigned>(i) / 5; },
                              fold(0, [](int& sum, int i) { return sum += i; })),
                  numbers(100));
}

TEST_CASE("a loop feeds results back") {
    for (const std::size_t initial : {1, 3}) {
        obeys_the_law(loop(std::vector<int>(initial, 1),
                           map([](const auto& p) {
                               return std::pair(p.first + p.second, p.first * 7 + p.second % 5);
                           }) >>
                               map([](const auto& p) { return std::pair(p.first, p.second + 1); })),
                      numbers(40));
    }
    obeys_the_law(loop(std::vector<int>{1, 2, 3}, both(map([](int i) { return i; }), id())),
                  numbers(20));
}

TEST_CASE("a loop whose feedback is always that of one key goes on") {
    // The branches of the other keys have nothing to give, but hold the ring that all look at.
    const auto add = map([](const auto& p) { return std::pair(p.first, p.first + p.second); });
    const auto none = [](int) { return std::size_t{0}; };
    const auto fed = loop(
        std::vector<int>{1},
        add >> both(fold(0, [](int& sum, int i) { return sum += i; }), shard_by<3>(none, id())));
    obeys_the_law(fed, numbers(40));
    on_both(
        [fed](host&) -> future<> {
            const listed<int> expected = co_await model(describe<int>(fed), numbers(40));
            for (const auto how : {placement::policy::spread, placement::policy::pack}) {
                std::vector<int> out;
                co_await run(from_list(numbers(40)) >> fed >> collect(out),
                             {.where = {.how = how}, .capacity = 1, .batch = 1, .polls = 0});
                CHECK(out == expected.values);
            }
        },
        3);
}

TEST_CASE("a loop goes on when a branch of its feedback has its next element behind another's") {
    // What lies before it goes, or the ring that holds them all has no room for what comes next.
    const auto sides = map([](const auto& p) {
        const std::pair next(p.first, p.first + p.second);
        using side = either<std::pair<int, int>, std::pair<int, int>>;
        return next.second % 2 == 0 ? side(std::in_place_index<0>, next)
                                    : side(std::in_place_index<1>, next);
    });
    const auto fed = loop(std::vector<int>{0, 1, 2}, sides >> merge(id(), id()));
    obeys_the_law(fed, numbers(40));
    on_both(
        [fed](host&) -> future<> {
            const listed<int> expected = co_await model(describe<int>(fed), numbers(40));
            for (const std::size_t batch : {1, 256}) {
                std::vector<int> out;
                co_await run(from_list(numbers(40)) >> fed >> collect(out),
                             {.capacity = 1, .batch = batch, .polls = 0});
                CHECK(out == expected.values);
            }
        },
        3);
}

TEST_CASE("bools pass through, of which lists have no references") {
    const std::vector<bool> in{true, false, false, true, true, false, true};
    const auto inverse = map([](bool each) { return !each; });
    const auto odd = fold(false, [](bool& sum, bool each) { return sum = sum != each; });
    const auto differ = map([](const auto& pair) { return pair.first != pair.second; });
    const auto key = [](bool each) { return std::size_t{each}; };
    obeys_the_law(shard_by<2>(key, odd) >> fanout(id(), shard<2>(inverse)) >> both(odd, id()) >>
                      differ >> window(2) >>
                      flat_map([](const std::vector<bool>& list) { return list; }),
                  in);
}

TEST_CASE("filters, windows and flat maps change how many elements there are") {
    obeys_the_law(filter([](int i) { return i % 3 != 1; }) >>
                      flat_map([](int i) { return std::vector<int>(std::size_t(i % 5), i); }) >>
                      window(7) >> map([](const std::vector<int>& w) { return w.size(); }) >>
                      reduce(std::size_t{0}, [](std::size_t& sum, std::size_t i) { sum += i; }),
                  numbers(90));
}

TEST_CASE("futures keep the order of their elements") {
    obeys_the_law(map_async(4,
                            [](int i) -> future<int> {
                                co_await sleep_for(std::chrono::microseconds((i * 7919) % 13 * 10));
                                co_return i * 2;
                            }),
                  numbers(40));
}

TEST_CASE("a coroutine may keep a reference to its element until it ends") {
    obeys_the_law(
        map([](int i) { return std::pair(i, std::string(40, char('a' + i % 26))); }) >>
            map_async(4,
                      [](const auto& element) -> future<std::string> {
                          co_await sleep_for(std::chrono::microseconds(element.first % 7 * 10));
                          co_return element.second + std::to_string(element.first);
                      }),
        numbers(30));
}

TEST_CASE("the first failure in the order of the elements ends the stream") {
    const auto p = describe<int>(shard<2>(map([](int i) {
        if (i >= 10) {
            throw std::runtime_error(std::to_string(i));
        }
        return i;
    })));
    on_both(
        [p](host&) -> future<> {
            for (const std::size_t capacity : {1, 4, 64}) {
                std::vector<int> out;
                std::string what;
                try {
                    co_await run(from_list(numbers(40)) >> p >> collect(out),
                                 {.capacity = capacity});
                } catch (const std::runtime_error& failure) {
                    what = failure.what();
                }
                CHECK(what == "10");
                CHECK(out == numbers(10));
            }
        },
        3);
}

namespace {

/// What stages are called, and where they lie.
std::vector<std::pair<std::string, weir::shard_id>> laid(program what, deploy_options options) {
    std::vector<std::pair<std::string, weir::shard_id>> all;
    for (const stage_plan& each : lay_out(std::move(what), std::move(options), 4).stages) {
        all.emplace_back(each.name, each.shard);
    }
    return all;
}

}  // namespace

TEST_CASE("a name around several stages is that of a group, and places all of them") {
    using places = std::vector<std::pair<std::string, weir::shard_id>>;
    const auto twice = map([](int i) { return 2 * i; });
    const auto odd = [](int i) {
        return i % 2 == 0 ? either<int, int>(std::in_place_index<0>, i)
                          : either<int, int>(std::in_place_index<1>, i);
    };
    const auto of_two = [](int i) { return static_cast<std::size_t>(i); };
    const auto sum = fold(0, [](int& all, int i) { return all += i; });
    const auto add = map([](const auto& pair) { return pair.first + pair.second; });
    const auto again = both(twice, id());
    const auto fan = fanout(named("left", twice), named("inner", twice >> twice)) >> add;
    std::vector<int> out;
    const auto of = [&](const auto& p) {
        return from_list(std::vector<int>{}) >> p >> collect(out);
    };
    const deploy_options apart{.fuse = false};

    CHECK(laid(of(named("one", named("other", twice))), apart)[1].first == "one");
    CHECK(laid(of(named("two", twice >> named("last", twice))), apart) ==
          places{{"list", 0}, {"two/map", 1}, {"two/last", 2}, {"collect", 3}});
    CHECK(laid(of(named("fan", fan)), apart) == places{{"list", 0},
                                                       {"fan/left", 1},
                                                       {"fan/inner/map", 2},
                                                       {"fan/inner/map", 3},
                                                       {"fan/map", 0},
                                                       {"collect", 1}});
    CHECK(laid(of(map(odd) >> named("choice", merge(twice, named("right", twice)))), apart) ==
          places{{"list", 0}, {"map", 1}, {"choice/map", 2}, {"choice/right", 3}, {"collect", 0}});
    CHECK(laid(of(named("copies", shard<2>(twice))), apart) ==
          places{{"list", 0}, {"copies/map", 1}, {"copies/map", 2}, {"collect", 3}});
    CHECK(laid(of(named("keys", shard_by<2>(of_two, sum))), apart) ==
          places{{"list", 0}, {"keys/key", 1}, {"keys/fold", 2}, {"keys/fold", 3}, {"collect", 0}});
    CHECK(laid(of(named("round", loop(std::vector<int>{1}, again))), apart) ==
          places{{"list", 0}, {"round/map", 1}, {"round/loop", 2}, {"collect", 3}});
    CHECK(laid(of(named("none", id()) >> twice), apart)[1].first == "map");
    // Groups are no border to what becomes one loop.
    const source_of<int> hidden = from_list(std::vector<int>{});
    const plan one = lay_out(hidden >> twice >> named("two", twice >> twice) >> collect(out),
                             {.where = {.how = placement::policy::pack}}, 4);
    REQUIRE(one.stages.size() == 3);
    CHECK(one.stages[1].name == "map+two/map+two/map");
    CHECK(one.stages[1].nodes.size() == 1);

    // The innermost name decides, and one with its groups before one without.
    const auto placed = [&](std::map<std::string, weir::shard_id> names) {
        deploy_options options = apart;
        options.where.named = std::move(names);
        std::vector<weir::shard_id> shards;
        for (const auto& each : laid(of(named("fan", fan)), options)) {
            shards.push_back(each.second);
        }
        return shards;
    };
    using shards = std::vector<weir::shard_id>;
    CHECK(placed({{"fan", 3}}) == shards{0, 3, 3, 3, 3, 1});
    CHECK(placed({{"fan", 3}, {"inner", 2}}) == shards{0, 3, 2, 2, 3, 1});
    CHECK(placed({{"fan", 3}, {"inner", 2}, {"fan/inner", 1}}) == shards{0, 3, 1, 1, 3, 1});
    CHECK(placed({{"fan", 3}, {"map", 2}, {"fan/map", 0}}) == shards{0, 3, 2, 2, 0, 1});
    CHECK(placed({{"fan/left", 2}}) == shards{0, 2, 2, 3, 0, 1});
    deploy_options copied = apart;
    copied.where.named = {{"copies", 3}};
    CHECK(laid(of(named("copies", shard<2>(twice))), copied)[2].second == 0);
    CHECK_THROWS_WITH_AS(placed({{"left/fan", 1}}),
                         "place left/fan: no stage of that name: malformed input", weir::error);
}

TEST_CASE("a name changes nothing of what a pipeline gives") {
    const auto twice = map([](int i) { return 2 * i; });
    obeys_the_law(named("all", named("fan", fanout(twice, named("copies", shard<2>(twice)))) >>
                                   named("nothing", id())),
                  numbers(33));
}

TEST_CASE("a source that can't be made fails the deployment and leaves nothing behind") {
    on_both(
        [](host&) -> future<> {
            source_of<int> broken = from_list(numbers(3));
            broken.make = []() -> std::unique_ptr<source> { throw std::runtime_error("no such"); };
            std::string what;
            try {
                co_await run(broken >> shard<2>(map([](int i) { return i; })) >> discard());
            } catch (const std::runtime_error& failure) {
                what = failure.what();
            }
            CHECK(what == "no such");
        },
        3);
}

TEST_CASE("what fails beside a stage fails the stream, after what came before") {
    on_both([](host&) -> future<> {
        const auto told = [](auto program, deploy_options options = {}) -> future<std::string> {
            try {
                co_await run(program, options);
            } catch (const std::exception& failure) {
                co_return failure.what();
            }
            co_return "";
        };
        // The sink for dead letters.
        std::vector<int> out;
        const auto odd = map([](int i) {
            if (i == 3) {
                throw std::runtime_error("three");
            }
            return i;
        });
        const auto letter = [](int, const std::exception_ptr&) {
            throw std::runtime_error("no post");
        };
        CHECK(co_await told(from_list(numbers(9)) >> skip(odd, letter) >> collect(out)) ==
              "no post");
        CHECK(out == numbers(3));
        // A copy that the source makes.
        struct fragile {
            explicit fragile(int n) : number(n) {}
            fragile(const fragile& other) : number(other.number) {
                if (number == 5) {
                    throw std::runtime_error("five");
                }
            }
            fragile(fragile&& other) noexcept : number(other.number) {}
            int number;
        };
        std::vector<fragile> list;
        for (int i = 0; i < 8; ++i) {
            list.emplace_back(i);
        }
        out.clear();
        CHECK(co_await told(from_list(std::move(list)) >>
                                map([](const fragile& each) { return each.number; }) >>
                                collect(out),
                            {.fuse = false}) == "five");
        CHECK(out == numbers(5));
        // A capacity that no memory has.
        CHECK(co_await told(from_list(numbers(1)) >> id() >> discard(),
                            {.capacity = ~std::size_t{0}}) != "");
    });
}

namespace {

template <typename Fn>
std::string refused(Fn describe) {
    try {
        describe();
    } catch (const weir::error& failure) {
        return failure.is(weir::errc::malformed) ? failure.what() : "";
    }
    return "";
}

}  // namespace

TEST_CASE("numbers that a pipeline is described with are refused where they are out of range") {
    const auto is = [](const std::string& text, std::string_view begin) {
        return text.starts_with(begin);
    };
    const auto same = map([](int i) { return i; });
    const auto later = [](int i) { return weir::make_ready_future<int>(i); };
    CHECK(is(refused([&] { shard<2>(same, 0); }), "shard block 0, not 1 to 4294967296"));
    CHECK(is(refused([&] { shard<2>(same, max_capacity + 1); }), "shard block 4294967297, not"));
    CHECK(is(refused([&] { map_async(0, later); }), "map_async window 0, not 1 to 256"));
    CHECK(is(refused([&] { map_async(max_batch + 1, later); }), "map_async window 257, not"));
    CHECK(is(refused([&] { map_unordered(0, later); }), "map_unordered window 0, not 1 to 256"));
    CHECK(is(refused([&] { map_unordered(~std::size_t{0}, later); }),
             "map_unordered window 18446744073709551615, not"));
    CHECK(is(refused([&] { window(0); }), "window size 0, not"));
}

TEST_CASE("the largest block and the largest window do what they say") {
    on_both(
        [](host&) -> future<> {
            const auto described =
                describe<int>(shard<2>(map([](int i) { return i + 1; }), max_capacity) >>
                              map_async(max_batch, [](int i) -> future<int> {
                                  co_await sleep_for(std::chrono::microseconds(i % 7));
                                  co_return i;
                              }));
            std::vector<int> out;
            co_await run(from_list(numbers(1000)) >> described >> collect(out), {.capacity = 512});
            REQUIRE(out.size() == 1000);
            CHECK(out.front() == 1);
            CHECK(out.back() == 1000);
            CHECK(std::ranges::is_sorted(out));
        },
        2);
}
