// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>
#include <tests/pipeline/watched.hh>
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
using weir::test::check_dot;
using weir::test::check_json;
using weir::test::check_xml;
using weir::test::has;
using weir::test::numbers;
using weir::test::on_both;
using weir::test::on_simulator;
using weir::test::slowly;
using weir::test::three_stages;

namespace {

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

TEST_CASE("elements that can't be printed fail the recording, which holds what came before") {
    on_both(
        [](host&) -> future<> {
            const std::string file = file_of("unprintable.svg");
            co_await weir::io::make_directories(std::filesystem::path(file).parent_path());
            std::filesystem::remove(file);  // of an earlier run, unless simulated
            std::size_t count = 0;
            auto unseen = from_list(numbers(50)) >> map([](int i) { return unprintable{i}; }) >>
                          map_async(4,
                                    [](const unprintable& each) -> future<unprintable> {
                                        co_await sleep_for(std::chrono::milliseconds(1));
                                        co_return each;
                                    }) >>
                          for_each([&count](const unprintable&) { ++count; });
            const std::string why =
                co_await failure_of(run_watched(std::move(unseen), {.capacity = 4},
                                                {.record = file, .recording = {.elements = 2}}));
            CHECK(has(why, "unprintable "));
            CHECK(count == 50);
            CHECK(co_await weir::io::exists(file));
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
