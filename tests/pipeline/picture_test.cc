// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <tests/pipeline/watched.hh>
#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/sleep.hh>
#include <weir/core/topology.hh>
#include <weir/io/run.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/watch.hh>

TEST_SUITE_BEGIN("pipeline/picture");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::duration;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::check_dot;
using weir::test::check_json;
using weir::test::check_xml;
using weir::test::has;
using weir::test::numbers;
using weir::test::on_simulator;
using weir::test::slowly;
using weir::test::three_stages;

TEST_CASE("the copies of a sharded stage queue only what is theirs") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run =
                co_await deploy(from_list(numbers(64)) >> shard<2>(map([](int i) { return i; })) >>
                                    slowly(1) >> collect(out),
                                {.capacity = 16, .paused = true});
            const picture drawn = draw(run->laid_out(), "sharded");
            REQUIRE(drawn.stages.size() == 5);
            REQUIRE(drawn.edges.size() == 5);
            CHECK(drawn.stages[1].at.x == drawn.stages[2].at.x);
            CHECK(drawn.edges[0].capacity == 8);
            CHECK(drawn.edges[4].capacity == 16);
            CHECK(drawn.stages[1].at.y != drawn.stages[2].at.y);
            co_await run->resume();
            co_await sleep_for(std::chrono::milliseconds(10));
            const moment now{std::chrono::milliseconds(10), co_await run->sample()};
            // Everything is full behind the slow stage; of the source's ring each copy has half.
            CHECK(queued(now, drawn.edges[0]) + queued(now, drawn.edges[1]) ==
                  now.stages[0].queued);
            CHECK(drawn.stages[bottleneck(drawn, now)].kind == stage_plan::form::async);
            co_await run->join();
        },
        3, 4);
}

TEST_CASE("the newest elements of each ring come in words") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<std::pair<int, std::string>> out;
            const auto run = co_await deploy(
                from_list(numbers(9)) >>
                    named("pair", map([](int i) { return std::pair(i, std::string(40, 'a')); })) >>
                    map_async(1,
                              [](auto pair) -> future<std::pair<int, std::string>> {
                                  co_await sleep_for(std::chrono::milliseconds(2));
                                  co_return std::pair(pair.first, std::string("b\n<"));
                              }) >>
                    collect(out),
                {.capacity = 4});
            co_await sleep_for(std::chrono::milliseconds(5));
            const auto now = co_await run->sample(2);
            CHECK(has(now[0].newest, "  "));
            CHECK(has(now[1].newest, ", “aaaaaaaaaaaaaaaaaaaaaaaa…”)"));
            CHECK((co_await run->sample())[1].newest.empty());
            co_await run->join();
        },
        2, 4);
}

TEST_CASE("graphs are drawn for graphviz, for programs and for people") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run = co_await deploy(three_stages(out), {.capacity = 8});
            const picture drawn = draw(run->laid_out(), "a \"graph\" & </script>");
            moment now;
            do {  // until futures are under way: at some instants they have all just ended
                co_await sleep_for(std::chrono::milliseconds(1));
                now = {now.at + std::chrono::milliseconds(1), co_await run->sample(3)};
            } while (bottleneck(drawn, now) != 2 && now.at < std::chrono::milliseconds(20));
            const std::string dot = to_dot(drawn, now);
            check_dot(dot);
            CHECK(has(dot, "p0_0 -> p0_1 [label=\""));
            CHECK(has(dot, "slow \\\"<1>\\\" (shard 2)"));
            CHECK(has(dot, "penwidth=3"));
            const std::string json = to_json(drawn, now);
            check_json(json);
            CHECK(has(json, "\"shard\":2,\"cpu\":null,"));
            CHECK(has(to_svg(drawn, now), ">shard 2</text>"));
            CHECK(!has(json, "</script>"));
            CHECK(has(json, "\"bottleneck\":2}"));
            check_xml("<svg>" + to_svg(drawn, now) + "</svg>");
            co_await run->join();
        },
        3, 4);
}

TEST_CASE("what is fed back is drawn against the stream") {
    on_simulator([](host&) -> future<> {
        std::vector<int> out;
        const auto run = co_await deploy(
            from_list(numbers(20)) >>
                loop(std::vector<int>{1, 2},
                     map([](const auto& p) { return std::pair(p.first, p.second); }) >>
                         both(map([](int i) { return i; }), id())) >>
                collect(out),
            {.fuse = false});
        const picture drawn = draw(run->laid_out(), "loop");
        co_await run->join();
        CHECK(std::ranges::count(drawn.edges, true, &drawn_edge::fed_back) >= 1);
        for (const drawn_edge& edge : drawn.edges) {
            const double from = drawn.stages[edge.from].at.x;
            const double to = drawn.stages[edge.to].at.x;
            CHECK((edge.fed_back ? to <= from : to > from));
        }
        const moment now{std::chrono::milliseconds(1), co_await run->sample()};
        check_dot(to_dot(drawn, now));
    });
}

TEST_CASE("no two boxes of a picture overlap") {
    on_simulator(
        [](host&) -> future<> {
            const auto twice = [] { return map([](int i) { return 2 * i; }); };
            std::vector<std::pair<std::pair<int, int>, std::pair<int, int>>> out;
            const auto run =
                co_await deploy(from_list(numbers(5)) >>
                                    fanout(fanout(twice() >> twice() >> shard<3>(twice()), id()),
                                           fanout(shard<2>(twice()), twice())) >>
                                    collect(out),
                                {.fuse = false});
            const picture drawn = draw(run->laid_out(), "fans");
            co_await run->join();
            for (const drawn_stage& a : drawn.stages) {
                for (const drawn_stage& b : drawn.stages) {
                    CHECK((&a == &b || std::abs(a.at.x - b.at.x) > picture::box_width ||
                           std::abs(a.at.y - b.at.y) > picture::box_height));
                }
                CHECK(a.at.x + picture::box_width <= drawn.width);
                CHECK(a.at.y >= 0);
                CHECK(a.at.y + picture::box_height <= drawn.height);
            }
        },
        2, 1);
}

TEST_CASE("text from anywhere is made readable, valid and short") {
    CHECK(readable("käse") == "käse");
    CHECK(readable("a\xff"
                   "b\xc3") ==
          "a\xef\xbf\xbd"
          "b\xef\xbf\xbd");
    CHECK(readable("\xed\xa0\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
    CHECK(readable("\xc0\xaf") == "\xef\xbf\xbd\xef\xbf\xbd");                  // too long a form
    CHECK(readable("a\tb\x7f") == "a␣b␣");
    CHECK(readable("ääääää", 3) == "äää…");
    CHECK(json_quoted("\"\\\n<&>") == "\"\\u0022\\u005c\\u000a\\u003c\\u0026\\u003e\"");
    CHECK(xml_quoted("<a&\"") == "&#60;a&#38;&#34;");
    CHECK(short_number(0) == "0");
    CHECK(short_number(2.25) == "2.2");
    CHECK(short_number(9999) == "9999");
    CHECK(short_number(12345) == "12.3 k");
    CHECK(short_number(999'600) == "1.00 M");
    CHECK(short_time(duration(0)) == "–");
    CHECK(short_time(duration(1250)) == "1.25 µs");
    CHECK(short_time(duration(999'900'000)) == "1.00 s");
}

TEST_CASE("a recording keeps within its frames and holds the whole run") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run = co_await deploy(three_stages(out, 2000), {.paused = true});
            recorder tape(*run, {.title = "tape",
                                 .period = std::chrono::microseconds(100),
                                 .frames_max = 64,
                                 .elements = 4});
            co_await tape.start();
            co_await run->resume();
            co_await run->join();
            co_await tape.stop();
            CHECK(tape.frames() <= 64);
            CHECK(tape.frames() > 16);
            CHECK(tape.period() > std::chrono::microseconds(100));
            const std::string text = tape.svg();
            check_xml(text);
            const std::size_t from = text.find("const recording = ") + 18;
            check_json(text.substr(from, text.find("};\n", from) + 1 - from));
            CHECK(!has(text, "href="));  // nothing to load from elsewhere
        },
        3, 4);
}

TEST_CASE("where shards are bound to cpus, pictures say to which") {
    // The machine's last one: of two, not that of the shard's number.
    const unsigned last = weir::discover_topology().cpus().back();
    weir::io::run_options options;
    options.placement.shards = 2;
    options.placement.cpus = {last};
    options.placement.allow_overcommit = true;
    options.handle_signals = false;
    weir::capturing_log_sink log;
    options.host.log = &log;
    CHECK(weir::io::run(options, [last](host& own) -> future<> {
              CHECK(own.options().cpus == std::vector{last, last});
              std::vector<int> out;
              const auto run = co_await deploy(three_stages(out, 10));
              recorder tape(*run, {});
              co_await tape.start();
              co_await run->join();
              co_await tape.stop();
              const picture drawn = draw(run->laid_out(), "bound");
              const moment now{std::chrono::milliseconds(1), co_await run->sample()};
              const std::string cpu = std::to_string(last);
              const std::string place = "shard 1, cpu " + cpu;
              CHECK(has(to_dot(drawn, now), "double (" + place + ")"));
              CHECK(has(to_json(drawn, now), "\"shard\":1,\"cpu\":" + cpu + ","));
              CHECK(has(to_svg(drawn, now), ">" + place + "</text>"));
              CHECK(has(tape.svg(), "4 stages on 2 shards, cpu " + cpu + ", "));
          }) == 0);
    options.pin = false;
    CHECK(weir::io::run(options, [](host& own) -> future<> {
              CHECK(own.options().cpus.empty());
              return weir::make_ready_future();
          }) == 0);
}

TEST_CASE("each stage is drawn with the cpu of its shard") {
    plan laid = lay_out(from_list(numbers(1)) >> slowly(1) >> discard(), {.where = {.base = 1}}, 4);
    CHECK(places_of(draw(laid, "")) == "3 shards");
    laid.cpus = {0, 5, 7, 6};
    const picture drawn = draw(laid, "");
    CHECK(place_of(drawn.stages[0]) == "shard 1, cpu 5");
    CHECK(place_of(drawn.stages[1]) == "shard 2, cpu 7");
    CHECK(places_of(drawn) == "3 shards, cpus 5-7");
}

namespace {

/// A moment in which a stage after the other has so many elements to take, at this load.
moment at_work(const picture& drawn, const std::vector<std::size_t>& queues,
               const std::vector<double>& loads) {
    moment now{std::chrono::seconds(1), {}};
    for (unsigned i = 0; i < drawn.stages.size(); ++i) {
        stage_sample each{.stage = i, .waits = {0, 1}};
        each.counted.elements = 1000;
        each.counted.sampled_elements = 1;
        each.counted.service = duration(static_cast<duration::rep>(loads[i] * 1e6));
        if (i != 0) {
            each.readers.push_back({.writer = i - 1, .taken = 1000, .queued = queues[i - 1]});
        }
        now.stages.push_back(each);
    }
    return now;
}

}  // namespace

TEST_CASE("the bottleneck has something to do, and what is full before it is not behind it") {
    const auto same = [] { return map([](int i) { return i; }); };
    const picture drawn = draw(lay_out(from_list(numbers(1)) >> same() >> same() >> discard(),
                                       {.capacity = 8, .fuse = false}, 1),
                               "");
    CHECK(bottleneck(drawn, at_work(drawn, {8, 0, 0}, {0.1, 0.9, 0.1, 0.1})) == 1);
    CHECK(bottleneck(drawn, at_work(drawn, {8, 8, 0}, {0.5, 0.5, 0.5, 0.5})) == 2);
    CHECK(bottleneck(drawn, at_work(drawn, {0, 0, 0}, {0.2, 0.2, 0.2, 0.2})) == 4);
    // What waits for a stage that does next to nothing waits for others on its cpu.
    CHECK(bottleneck(drawn, at_work(drawn, {8, 8, 8}, {0.01, 0.01, 0.01, 0.01})) == 4);
}

TEST_CASE("no two labels of a picture overlap, nor a label and a box") {
    const auto twice = [] { return map([](int i) { return 2 * i; }); };
    const picture drawn = draw(lay_out(from_list(numbers(1)) >> shard<2>(twice()) >>
                                           shard<3>(twice()) >> shard<2>(twice()) >> discard(),
                                       {.capacity = 64, .fuse = false}, 2),
                               "crossing");
    REQUIRE(drawn.edges.size() == 2 + 6 + 6 + 2);
    const auto apart = [](point a, double wide, double high, point b, double wide_b,
                          double high_b) {
        return a.x + wide <= b.x || b.x + wide_b <= a.x || a.y + high <= b.y || b.y + high_b <= a.y;
    };
    const auto corner = [](const drawn_edge& edge) {
        return point{edge.label.x - picture::label_width / 2,
                     edge.label.y - picture::label_height / 2};
    };
    for (const drawn_edge& edge : drawn.edges) {
        // Half of the source's ring, and all of the others' smaller ones: who reads what was dealt
        // out otherwise looks at all of it.
        CHECK(edge.capacity == 32);
        for (const drawn_edge& other : drawn.edges) {
            CHECK((&edge == &other ||
                   apart(corner(edge), picture::label_width, picture::label_height, corner(other),
                         picture::label_width, picture::label_height)));
        }
        for (const drawn_stage& stage : drawn.stages) {
            CHECK(apart(corner(edge), picture::label_width, picture::label_height, stage.at,
                        picture::box_width, picture::box_height));
        }
    }
}

TEST_CASE("names that are too long show how they begin and end, and all copies their number") {
    const auto same = [] { return map([](int i) { return i; }); };
    const plan laid =
        lay_out(from_list(numbers(1)) >>
                    named("a group of some length", shard<2>(named("with a stage", same()))) >>
                    named("grün", same()) >> discard(),
                {.fuse = false}, 1);
    const picture drawn = draw(laid, "");
    const std::string text =
        to_svg(drawn, {std::chrono::seconds(1), std::vector<stage_sample>(drawn.stages.size())});
    check_xml(text);
    CHECK(has(text, ">a group …a stage #2</text>"));
    CHECK(has(text, ">grün</text>"));
    CHECK(has(text, "<title>a group of some length/with a stage, work on shard 0</title>"));
}
