// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>
#include <weir/net/http.hh>

// What requests that come bit by bit hold, and what they are charged for.
namespace weir::net::test {

using namespace std::chrono_literals;

namespace {

std::size_t bytes_here() {
    return io::sim::memory::current()->bytes;
}

std::string head_of(std::size_t body) {
    return "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body) + "\r\n\r\n";
}

future<http_response> thank(const http_request&) {
    return make_ready_future<http_response>(http_response{.body = "thanks"});
}

future<> wait_for_thanks(connection& from) {
    std::string answer;
    while (!answer.ends_with("thanks")) {
        const received some = co_await from.receive();
        REQUIRE(some.what() == received::status::data);
        answer += text_of(some.bytes());
    }
}

/// Connections that each sent `first` of what they want to send.
struct crowd {
    std::vector<std::unique_ptr<connection>> open;

    future<> send(address to, std::size_t clients, std::string_view first) {
        for (std::size_t i = 0; i < clients; ++i) {
            open.push_back(co_await connection::connect(to));
            co_await open.back()->send(bytes_of(first));
        }
        co_await sleep_for(1s);
    }
    future<> close() {
        for (auto& each : open) {
            co_await each->close();
        }
    }
};

std::string refusal_of(const http_options& options) {
    try {
        options.check();
    } catch (const error& failure) {
        CHECK(failure.is(errc::malformed));
        return failure.what();
    }
    return "";
}

}  // namespace

TEST_SUITE("net/http") {
    TEST_CASE("half a request behind a large one keeps nothing of its memory") {
        on_simulator([](host&) -> future<> {
            http_server tested;
            tested.route("/", thank);
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            const std::string large = head_of(1'000'000) + std::string(1'000'000, 'b');
            const std::string half = large + "GET / HTTP/1.1\r\nHo";
            const std::size_t before = bytes_here();
            co_await client->send(bytes_of(half));
            co_await wait_for_thanks(*client);
            co_await sleep_for(10ms);
            CHECK(bytes_here() < before + 300'000);
            CHECK(tested.budget().bytes_used() == 0);
            co_await client->send(bytes_of("st: x\r\n\r\n"));
            co_await wait_for_thanks(*client);
            co_await client->close();
            co_await tested.stop();
        });
    }

    TEST_CASE("all that a request holds is charged, while it comes and while it is answered") {
        on_simulator([](host&) -> future<> {
            http_server tested;
            promise<> go_on;
            future<> gone_on = go_on.get_future();
            tested.route("/", [&](const http_request& request) -> future<http_response> {
                CHECK(request.body.size() == 700'000);
                co_await std::move(gone_on);
                co_return http_response{.body = "thanks"};
            });
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            const std::string body(700'000, 'b');
            co_await client->send(bytes_of("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"));
            CHECK(!(co_await client->receive()).bytes().empty());
            const std::size_t before = bytes_here();
            constexpr std::size_t beside = 150'000;  // what the connection has received ahead
            const auto is_charged = [&] {
                return bytes_here() <= before + tested.budget().bytes_used() + beside;
            };
            co_await client->send(
                bytes_of("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "aae60\r\n"));
            for (std::size_t at = 0; at < body.size(); at += 10'000) {
                co_await client->send(bytes_of(std::string_view(body).substr(at, 10'000)));
                co_await sleep_for(1ms);
                CHECK(is_charged());
            }
            co_await client->send(bytes_of("\r\n0\r\n\r\n"));
            co_await sleep_for(10ms);
            CHECK(tested.budget().bytes_used() > 2 * body.size());
            CHECK(is_charged());
            go_on.set_value();
            co_await wait_for_thanks(*client);
            CHECK(tested.budget().bytes_used() == 0);
            CHECK(is_charged());
            co_await client->close();
            co_await tested.stop();
        });
    }

    TEST_CASE("a body of known length is charged once, and claims no more than that") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.requests_bytes = 100'000;
            options.request_time_max = 1h;
            http_server tested(options);
            tested.route("/", thank);
            co_await tested.start(address::loopback(0));
            crowd slow;
            const std::string half = head_of(30'000) + std::string(20'000, 'b');
            co_await slow.send(tested.where(), 20, half);
            // Those that don't fit are finished from the reserve, as many as fit there.
            CHECK(tested.budget().counters().finished >= 15);
            CHECK(tested.budget().waiting() == 0);
            CHECK(tested.budget().bytes_used() <= 20 * 30'200);
            co_await slow.close();
            co_await tested.stop();
        });
    }

    TEST_CASE("slow requests never hold what is kept for whole ones") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.requests_bytes = 400'000;
            options.request_time_max = 1h;
            http_server tested(options);
            tested.route("/", thank);
            co_await tested.start(address::loopback(0));
            crowd slow;
            const std::string half = head_of(1'000'000) + std::string(8'000, 'b');
            co_await slow.send(tested.where(), 200, half);
            CHECK(tested.budget().waiting() > 0);
            // Its last byte is one too many to be free.
            auto quick = co_await connection::connect(tested.where());
            const std::string head = head_of(4'000);
            const std::string whole =
                head_of(4'097 - head.size()) + std::string(4'097 - head.size(), 'b');
            co_await quick->send(bytes_of(std::string_view(whole).substr(0, 4'096)));
            co_await sleep_for(10ms);
            co_await quick->send(bytes_of(std::string_view(whole).substr(4'096)));
            const auto thanked = wait_for_thanks(*quick);
            co_await sleep_for(1s);
            CHECK(thanked.available());
            co_await quick->close();
            co_await slow.close();
            co_await tested.stop();
        });
    }

    TEST_CASE(
        "what is pipelined behind a request takes it no room, with the smallest budget, too") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.requests_bytes = 4096;
            options.request_time_max = 10s;
            options.server.stop_grace = 1s;
            http_server tested(options);
            tested.route("/", thank);
            co_await tested.start(address::loopback(0));
            crowd finished;  // from the reserve
            co_await finished.send(tested.where(), 1, head_of(20'400) + std::string(10'240, 'b'));
            crowd waiting;  // may be anything as yet, so it claims all of the reserve
            co_await waiting.send(tested.where(), 1,
                                  "GET / HTTP/1.1\r\nA: " + std::string(5000, 'a'));
            std::string rest(10'160, 'b');
            for (int i = 0; i < 2000; ++i) {
                rest += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            }
            future<> sending = finished.open[0]->send(bytes_of(rest));
            const received answer = co_await finished.open[0]->receive(this_shard().now() + 60s);
            CHECK(text_of(answer.bytes()).starts_with("HTTP/1.1 200"));
            co_await settled(sending);
            std::move(sending).ignore();
            co_await finished.close();
            co_await waiting.close();
            co_await tested.stop();
        });
    }

    TEST_CASE("a stop waits for no request that waits for room") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.requests_bytes = 100'000;
            options.request_time_max = 1h;
            http_server tested(options);
            tested.route("/", thank);
            co_await tested.start(address::loopback(0));
            crowd slow;
            co_await slow.send(tested.where(), 50, head_of(1'000'000) + std::string(60'000, 'b'));
            CHECK(tested.budget().waiting() > 30);
            const instant began = this_shard().now();
            co_await tested.stop();
            CHECK(this_shard().now() < began + options.server.stop_grace);
            CHECK(tested.budget().bytes_used() == 0);
            co_await slow.close();
        });
    }

    TEST_CASE("a budget that nobody chose fits the host's memory, and one that was chosen stays") {
        constexpr std::size_t mib = std::size_t{1} << 20;
        io::sim::world world(1);
        auto& own = world.add_host(host_options{.name = "small", .memory_bytes = 64 * mib});
        own.start([](host&) -> future<> {
            const http_server small{http_options{}};
            CHECK(small.budget().bytes() - small.budget().largest() == 8 * mib);
            const http_server chosen{http_options{.requests_bytes = 20 * mib}};
            CHECK(chosen.budget().bytes() - chosen.budget().largest() == 20 * mib);
            co_return;
        });
        REQUIRE(world.run_until([&] { return own.exited(); }, 60s));
        CHECK(own.failure() == "");
    }

    TEST_CASE("options of a server that can't work are refused, with the one that is wrong") {
        CHECK(refusal_of({}) == "");
        http_options wrong;
        const auto refused = [&](std::size_t http_options::* option, std::size_t value) {
            wrong = {};
            wrong.*option = value;
            return refusal_of(wrong);
        };
        for (const std::size_t huge : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 6, (1UL << 30) + 1}) {
            CHECK(refused(&http_options::header_bytes_max, huge).find("header_bytes_max") !=
                  std::string::npos);
            CHECK(refused(&http_options::body_bytes_max, huge).find("body_bytes_max") !=
                  std::string::npos);
        }
        CHECK(refused(&http_options::requests_bytes, SIZE_MAX).find("requests_bytes") !=
              std::string::npos);
        CHECK(refused(&http_options::requests_bytes, 0).find("requests_bytes") !=
              std::string::npos);
        CHECK(refused(&http_options::header_bytes_max, 0).find("header_bytes_max") !=
              std::string::npos);
        CHECK(refused(&http_options::body_bytes_max, 0) == "");
        CHECK(refused(&http_options::body_bytes_max, 1UL << 30) == "");
        on_simulator([&](host&) -> future<> {
            wrong = {};
            wrong.requests_bytes = SIZE_MAX;
            CHECK_THROWS_AS(http_server{wrong}, error);
            co_return;
        });
    }
}

}  // namespace weir::net::test
