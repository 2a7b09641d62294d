// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>

#include <doctest/doctest.h>
#include <tests/support/both.hh>

#include <weir/core/sleep.hh>
#include <weir/io/file.hh>
#include <weir/net/admin.hh>
#include <weir/net/connection.hh>
#include <weir/pipeline/pipeline.hh>
#include <weir/pipeline/watch.hh>
#include <weir/pipeline/watch_board.hh>

TEST_SUITE_BEGIN("pipeline/watch");

// Not weir itself: its shard is another one.
using namespace weir::pipeline;
using weir::duration;
using weir::future;
using weir::host;
using weir::sleep_for;
using weir::test::on_both;
using weir::test::on_simulator;

namespace {

std::vector<int> numbers(int count) {
    std::vector<int> list(static_cast<std::size_t>(count));
    std::iota(list.begin(), list.end(), 0);
    return list;
}

auto slowly(std::size_t window) {
    return named("slow \"<1>\"", map_async(window, [](int i) -> future<int> {
                     co_await sleep_for(std::chrono::milliseconds(1));
                     co_return i;
                 }));
}

program three_stages(std::vector<int>& out, int count = 100) {
    return from_list(numbers(count)) >> named("double", map([](int i) { return 2 * i; })) >>
           slowly(4) >> collect(out);
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

/// What another program says about a text that it reads; nothing if it is not here.
std::optional<int> checked_by(const std::string& command, const std::string& text) {
    const std::string name = command.substr(0, command.find(' '));
    if (std::system(("command -v " + name + " >/dev/null").c_str()) != 0) {  // NOLINT: of a test
        MESSAGE("skipped: no " << name);
        return std::nullopt;
    }
    std::FILE* const checker = ::popen(command.c_str(), "w");
    REQUIRE(checker != nullptr);
    std::fwrite(text.data(), 1, text.size(), checker);
    return ::pclose(checker);
}

void check_json(const std::string& text) {
    CHECK(checked_by("python3 -c 'import json,sys; json.load(sys.stdin)'", text).value_or(0) == 0);
}
void check_dot(const std::string& text) {
    CHECK(checked_by("dot -Tsvg -o /dev/null", text).value_or(0) == 0);
}
void check_xml(const std::string& text) {
    CHECK(
        checked_by("python3 -c 'import sys,xml.dom.minidom as m; m.parse(sys.stdin.buffer)'", text)
            .value_or(0) == 0);
}

/// Where a test may leave something to look at.
std::string file_of(const std::string& name) {
    const char* const folder = std::getenv("TMPDIR");
    return (std::filesystem::path(folder == nullptr ? "/tmp" : folder) / name).string();
}

}  // namespace

TEST_CASE("a sample counts what went through, and what waits for whom") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run =
                co_await deploy(three_stages(out), {.capacity = 8, .batch = 4, .paused = true});
            auto at_first = co_await run->sample();
            REQUIRE(at_first.size() == 4);
            for (const stage_sample& each : at_first) {
                CHECK(each.counted.elements == 0);
                CHECK(each.cursor == -1);
                CHECK(!each.over);
            }
            co_await run->resume();
            std::size_t most = 0;
            for (bool over = false; !over;) {
                const auto now = co_await run->sample();
                for (std::size_t i = 1; i < now.size(); ++i) {
                    REQUIRE(now[i].readers.size() == 1);
                    CHECK(now[i].readers[0].writer == i - 1);
                    CHECK(now[i].readers[0].queued <= 8);
                }
                most = std::max(most, now[2].readers[0].queued);
                CHECK(now[2].waits.most == 4);
                CHECK(now[2].waits.now <= 4);
                over = now.back().over;
                co_await sleep_for(std::chrono::microseconds(300));
            }
            CHECK(most >= 4);  // before the slow stage they wait
            co_await run->join();
            const auto at_end = co_await run->sample();
            for (const stage_sample& each : at_end) {
                CHECK(each.counted.elements == 100);
                CHECK(each.cursor == 99);
                CHECK(each.over);
                CHECK(each.queued == 0);
            }
            CHECK(at_end[1].readers[0].taken == 100);
            CHECK(at_end[3].counted.sampled_elements != 0);
        },
        3, 4);
}

TEST_CASE("whoever samples while a deployment is joined sees it to its end") {
    on_both(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run = co_await deploy(three_stages(out, 40), {.capacity = 4});
            future<> joined = run->join();
            bool over = false;
            while (!over) {
                const auto now = co_await run->sample(2);
                over = now.back().over;
                co_await sleep_for(std::chrono::microseconds(50));
            }
            co_await std::move(joined);
            CHECK((co_await run->sample())[0].counted.elements == 40);
            CHECK(out.size() == 40);
        },
        3);
}

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
            co_await sleep_for(std::chrono::milliseconds(7));
            const picture drawn = draw(run->laid_out(), "a \"graph\" & </script>");
            const moment now{std::chrono::milliseconds(7), co_await run->sample(3)};
            const std::string dot = to_dot(drawn, now);
            check_dot(dot);
            CHECK(has(dot, "p0_0 -> p0_1 [label=\""));
            CHECK(has(dot, "slow \\\"<1>\\\" (core "));
            CHECK(has(dot, "penwidth=3"));
            const std::string json = to_json(drawn, now);
            check_json(json);
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

TEST_CASE("a watcher may begin in the middle of a run, and end before it") {
    on_both(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run = co_await deploy(three_stages(out, 100));
            co_await sleep_for(std::chrono::milliseconds(3));
            unsigned looks = 0;
            watcher eye(*run, std::chrono::milliseconds(1), 0, [&](const moment& now) {
                CHECK(now.stages.size() == 4);
                ++looks;
            });
            co_await eye.start();
            co_await sleep_for(std::chrono::milliseconds(5));
            co_await eye.stop();
            CHECK(looks >= 2);
            co_await run->join();
            CHECK(out.size() == 100);
        },
        2);
}

TEST_CASE("a progress line tells how far it is, and ends with a line's end") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            std::vector<std::string> lines;
            const auto run = co_await deploy(three_stages(out, 100), {.capacity = 4});
            progress_line line(*run,
                               {.title = "count",
                                .total = 100,
                                .period = std::chrono::milliseconds(2),
                                .write = [&](std::string_view text) { lines.emplace_back(text); }});
            co_await line.start();
            co_await run->join();
            co_await line.stop();
            REQUIRE(lines.size() > 4);
            CHECK(has(lines[0], "\rcount") != has(lines[0], "\r\x1b[Kcount"));
            CHECK(has(lines[lines.size() / 2], " left"));
            CHECK(has(lines[lines.size() - 2], "100 %"));
            CHECK(lines.back() == "\n");
        },
        2, 4);
}

namespace {

future<std::string> get(weir::net::address at, std::string_view path) {
    auto client = co_await weir::net::connection::connect(at);
    const std::string sent =
        "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    co_await client->send(std::as_bytes(std::span(sent)));
    std::string answer;
    for (;;) {
        const weir::net::received some = co_await client->receive();
        if (some.what() != weir::net::received::status::data) {
            break;
        }
        answer.append(reinterpret_cast<const char*>(some.bytes().data()), some.bytes().size());
    }
    co_await client->close();
    co_return answer;
}

std::string body_of(const std::string& answer) {
    return answer.substr(answer.find("\r\n\r\n") + 4);
}

}  // namespace

TEST_CASE("deployments are on the admin page as long as they are shown") {
    on_both(
        [](host&) -> future<> {
            watch_board board;
            weir::net::admin_options options;
            options.at = weir::net::address::loopback(0);
            weir::net::admin_server page(options);
            board.add_to(page);
            co_await page.start();
            CHECK(has(co_await get(page.where(), "/shards.json"),
                      "\"links\":[[\"pipeline\",\"pipelines\"]]"));
            CHECK(has(co_await get(page.where(), "/pipeline"), "<!doctype html>"));
            CHECK(has(co_await get(page.where(), "/pipeline.json"), "{\"deployments\":[]}"));
            {
                std::vector<int> out;
                const auto run = co_await deploy(three_stages(out, 100));
                const auto shown = board.show(*run, "on <board>");
                const std::string json = body_of(co_await get(page.where(), "/pipeline.json"));
                check_json(json);
                CHECK(has(json, "\"title\":\"on \\u003cboard\\u003e\""));
                CHECK(!has(json, "\"picture\""));
                CHECK(has(co_await get(page.where(), "/pipeline.json?elements&pictures"),
                          "\"picture\""));
                const std::string dot = body_of(co_await get(page.where(), "/pipeline.dot"));
                CHECK(has(dot, "label=\"on <board>\""));
                check_dot(dot);
                co_await run->join();
                CHECK(has(co_await get(page.where(), "/pipeline.json"), "\"over\":true"));
            }
            CHECK(has(co_await get(page.where(), "/pipeline.json"), "{\"deployments\":[]}"));
            co_await page.stop();
        },
        2);
}

TEST_CASE("a watched run gives what a run gives, and leaves its recording") {
    on_both(
        [](host&) -> future<> {
            const std::string file = file_of("watched.svg");
            co_await weir::io::make_directories(std::filesystem::path(file).parent_path());
            std::vector<int> out;
            co_await run_watched(three_stages(out, 50), {},
                                 {.record = file, .recording = {.title = "watched"}});
            CHECK(co_await weir::io::exists(file));
            CHECK(out.size() == 50);
        },
        2);
}

TEST_CASE("a watched run that fails says so, and leaves its recording all the same") {
    on_both([](host&) -> future<> {
        const std::string file = file_of("failed.svg");
        co_await weir::io::make_directories(std::filesystem::path(file).parent_path());
        std::string what;
        try {
            co_await run_watched(from_list(numbers(50)) >> map([](int i) {
                                     return i < 7 ? i : throw std::runtime_error("seven");
                                 }) >>
                                     discard(),
                                 {}, {.record = file});
        } catch (const std::runtime_error& failure) {
            what = failure.what();
        }
        CHECK(what == "seven");
        CHECK(co_await weir::io::exists(file));
    });
}

namespace {

/// What people can't be shown.
struct unprintable {
    int number = 0;
};

/// A progress line whose n-th line can't be written.
progress_options failing_at(unsigned line, std::string why) {
    return {.period = std::chrono::milliseconds(2),
            .write = [line, why, seen = 0U](std::string_view) mutable {
                if (++seen == line) {
                    throw std::runtime_error(why);
                }
            }};
}

future<std::string> failure_of(future<> of) {
    try {
        co_await std::move(of);
    } catch (const std::runtime_error& failure) {
        co_return failure.what();
    }
    co_return "";
}

}  // namespace

template <>
struct weir::pipeline::printer<unprintable> {
    static void print(const unprintable& each, std::string&) {
        throw std::runtime_error("unprintable " + std::to_string(each.number));
    }
};

TEST_CASE("a run whose watcher can't even begin to look is stopped and joined") {
    on_both(
        [](host&) -> future<> {
            std::vector<int> out;
            const std::string file = file_of("unseen.svg");
            co_await weir::io::make_directories(std::filesystem::path(file).parent_path());
            // The recorder has begun when the progress line fails.
            CHECK(co_await failure_of(
                      run_watched(three_stages(out, 50), {},
                                  {.record = file, .progress = failing_at(1, "full")})) == "full");
            CHECK(out.empty());
        },
        2);
}

TEST_CASE("a look that fails in the middle of a run is told at its end, and stops nobody else") {
    on_both(
        [](host&) -> future<> {
            std::vector<int> out;
            const std::string file = file_of("half_seen.svg");
            co_await weir::io::make_directories(std::filesystem::path(file).parent_path());
            std::filesystem::remove(file);  // of an earlier run, unless simulated
            CHECK(co_await failure_of(
                      run_watched(three_stages(out, 50), {},
                                  {.record = file, .progress = failing_at(3, "full")})) == "full");
            CHECK(out.size() == 50);
            CHECK(co_await weir::io::exists(file));
        },
        2);
}

TEST_CASE("elements that can't be printed fail the recording, not the run") {
    on_both(
        [](host&) -> future<> {
            std::size_t count = 0;
            auto unseen = from_list(numbers(50)) >> map([](int i) { return unprintable{i}; }) >>
                          map_async(4,
                                    [](const unprintable& each) -> future<unprintable> {
                                        co_await sleep_for(std::chrono::milliseconds(1));
                                        co_return each;
                                    }) >>
                          for_each([&count](const unprintable&) { ++count; });
            const std::string why = co_await failure_of(
                run_watched(std::move(unseen), {.capacity = 4},
                            {.record = file_of("unprintable.svg"), .recording = {.elements = 2}}));
            CHECK(has(why, "unprintable "));
            CHECK(count == 50);
        },
        2);
}

TEST_CASE("of a run that fails and a watcher that does, the run tells why") {
    on_both([](host&) -> future<> {
        CHECK(co_await failure_of(run_watched(from_list(numbers(50)) >> slowly(1) >> map([](int i) {
                                                  return i < 40 ? i
                                                                : throw std::runtime_error("forty");
                                              }) >>
                                                  discard(),
                                              {}, {.progress = failing_at(2, "full")})) == "forty");
    });
}

TEST_CASE("no time is noted of a run that nobody watches") {
    on_simulator(
        [](host&) -> future<> {
            std::vector<int> out;
            const auto run = co_await deploy(three_stages(out));
            co_await run->join();
            for (const stage_sample& each : co_await run->sample()) {
                CHECK(each.counted.elements == 100);
                CHECK(each.counted.sampled_elements == 0);
                CHECK(each.counted.service == duration(0));
            }
        },
        2, 4);
}
