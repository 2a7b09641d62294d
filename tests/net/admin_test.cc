// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/call.hh>
#include <weir/net/admin.hh>

namespace weir::net::test {

namespace {

/// The whole answer to a GET.
future<std::string> get(address at, std::string_view path) {
    auto client = co_await connection::connect(at);
    const std::string sent =
        "GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    co_await client->send(bytes_of(sent));
    const std::string answer = co_await receive_to_end(*client);
    co_await client->close();
    co_return answer;
}

bool has(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

admin_options anywhere() {
    admin_options options;
    options.at = address::loopback(0);
    options.title = "a \"test\"";
    return options;
}

}  // namespace

TEST_SUITE("net/admin") {
    TEST_CASE("healthz is starting, then ok, then whatever is wrong, and stopping at the end") {
        on_both([](host& own) -> future<> {
            admin_server tested(anywhere());
            co_await tested.start();
            CHECK((co_await get(tested.where(), "/healthz")).starts_with("HTTP/1.1 503 "));
            CHECK(has(co_await get(tested.where(), "/healthz"), "starting\n"));
            tested.set_ready();
            CHECK((co_await get(tested.where(), "/healthz")).starts_with("HTTP/1.1 200 "));
            tested.set_unready("the disk is full");
            CHECK(has(co_await get(tested.where(), "/healthz"), "the disk is full\n"));
            tested.set_ready();
            own.request_stop();
            co_await own.until_stop();
            CHECK(has(co_await get(tested.where(), "/healthz"), "stopping\n"));
            co_await tested.stop();
        });
    }

    TEST_CASE("metrics are those of all shards") {
        on_both(
            [](host& own) -> future<> {
                admin_server tested(anywhere());
                co_await tested.start();
                const std::string text = co_await get(tested.where(), "/metrics");
                CHECK(has(text, "\r\nContent-Type: text/plain; version=0.0.4"));
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    CHECK(has(text, "\nweir_turns_total{shard=\"" + std::to_string(id) + "\"} "));
                }
                co_await tested.stop();
            },
            3);
    }

    TEST_CASE("promtool accepts the metrics, if it is here") {
        if (std::system("command -v promtool >/dev/null") != 0) {  // NOLINT: of a test
            MESSAGE("skipped: no promtool");
            return;
        }
        std::string text;
        on_kernel(
            [&text](host&) -> future<> {
                admin_server tested(anywhere());
                co_await tested.start();
                text = co_await get(tested.where(), "/metrics");
                co_await tested.stop();
            },
            2);
        std::FILE* promtool = ::popen("promtool check metrics", "w");
        REQUIRE(promtool != nullptr);
        std::fputs(text.c_str() + text.find("\r\n\r\n") + 4, promtool);
        CHECK(::pclose(promtool) == 0);
    }

    TEST_CASE("the page shows shards and an application's tables, added up over shards") {
        on_both(
            [](host& own) -> future<> {
                std::uint64_t bytes = 21;
                std::vector<metrics::registration> kept(own.shard_count());
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    co_await on(id, [&] {
                        kept[this_shard().id()] = this_shard().metrics().counter(
                            {"app_bytes_total", "Bytes.", {{"topic", "t"}, {"partition", "7"}}},
                            &bytes);
                    });
                }
                admin_options options = anywhere();
                options.tables.push_back({"Partitions",
                                          "partition",
                                          {"topic", "partition"},
                                          {{"in", "app_bytes_total", admin_unit::bytes_per_second},
                                           {"none", "app_missing"}}});
                admin_server tested(options);
                co_await tested.start();
                const std::string json = co_await get(tested.where(), "/shards.json");
                CHECK(has(json, "\"title\":\"a \\\"test\\\"\",\"health\":\"starting\""));
                CHECK(has(json, "{\"id\":0,"));
                CHECK(has(json, "{\"id\":1,"));
                CHECK(has(json, "\"groups\":[{\"name\":"));
                CHECK(has(json,
                          "\"columns\":[{\"header\":\"in\",\"unit\":\"bytes/s\"},"
                          "{\"header\":\"none\",\"unit\":\"count\"}],"
                          "\"rows\":[[\"t 7\",42,0]],\"left_out\":0}"));
                const std::string page = co_await get(tested.where(), "/");
                CHECK(has(page, "<!doctype html>"));
                CHECK(has(page, "</html>"));
                CHECK(!has(page, "src="));  // nothing to load from elsewhere
                co_await tested.stop();
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    co_await on(id, [&] { kept[this_shard().id()].release(); });
                }
            },
            2);
    }
}

}  // namespace weir::net::test
