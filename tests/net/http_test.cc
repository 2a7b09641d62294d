// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/net/http.hh>

namespace weir::net::test {

using namespace std::chrono_literals;

namespace {

future<http_response> say_body(const http_request& request) {
    return make_ready_future<http_response>(
        http_response{200, "text/plain; charset=utf-8", std::string(request.body)});
}

/// Without the Date, which no test can know.
std::string dateless(std::string answer) {
    for (std::size_t at; (at = answer.find("Date: ")) != std::string::npos;) {
        answer.erase(at, answer.find("\r\n", at) + 2 - at);
    }
    return answer;
}

std::string answer_of(std::string_view status, std::string_view body,
                      std::string_view fields = "") {
    return "HTTP/1.1 " + std::string(status) +
           "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n" + std::string(fields) + "\r\n" + std::string(body);
}

/// Sends `sent` to a server with a few handlers, and returns all that it says until the end.
future<std::string> exchange(std::string_view sent, http_options options = {},
                             std::size_t step = SIZE_MAX, duration rest = {}) {
    http_server tested(options);
    tested.route("/", say_body);
    tested.route("/slow", [](const http_request& request) -> future<http_response> {
        std::string body(request.query);
        co_await sleep_for(2ms);
        co_return http_response{200, "text/plain; charset=utf-8", body};
    });
    tested.route("/throws", [](const http_request&) -> future<http_response> {
        throw std::runtime_error("a secret");
    });
    co_await tested.start(address::loopback(0));
    auto client = co_await connection::connect(tested.where());
    auto sending = [](connection& to, std::string_view text, std::size_t size,
                      duration pause) -> future<> {
        try {
            while (!text.empty()) {
                co_await to.send(bytes_of(text.substr(0, size)));
                text.remove_prefix(std::min(size, text.size()));
                co_await sleep_for(pause);
            }
        } catch (const error&) {  // NOLINT(bugprone-empty-catch): the server refused
        }
    }(*client, sent, step, rest);
    const std::string all = co_await receive_to_end(*client);
    co_await std::move(sending);
    co_await client->close();
    co_await tested.stop();
    co_return dateless(all);
}

}  // namespace

TEST_SUITE("net/http") {
    TEST_CASE("pipelined requests are answered in order on one connection") {
        on_both([](host&) -> future<> {
            CHECK(co_await exchange(
                      "GET /slow?1 HTTP/1.1\r\nHost: x\r\n\r\n"
                      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\ntwo"
                      "GET /slow?3 HTTP/1.1\r\nHost: x\r\n\r\n"
                      "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") ==
                  answer_of("200 OK", "1") + answer_of("200 OK", "two") + answer_of("200 OK", "3") +
                      answer_of("404 Not Found", "no such page\n", "Connection: close\r\n"));
        });
    }

    TEST_CASE("pipelined requests that came together leave in one send") {
        on_kernel([](host&) -> future<> {
            http_server tested;
            tested.route("/", say_body);
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            std::string sent;
            for (int i = 0; i < 16; ++i) {
                sent += "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            }
            co_await client->send(bytes_of(sent));
            const received first = co_await client->receive();
            const std::string_view text = text_of(first.bytes());
            std::size_t answers = 0;
            for (std::size_t at = 0; (at = text.find("HTTP/1.1 200", at)) != std::string_view::npos;
                 ++at) {
                ++answers;
            }
            CHECK(answers == 16);
            co_await client->close();
            co_await tested.stop();
        });
    }

    TEST_CASE("HEAD has the length and no body, HTTP/1.0 closes unless asked to stay") {
        on_both([](host&) -> future<> {
            std::string head = answer_of("200 OK", "three", "Connection: close\r\n");
            head.resize(head.size() - 5);
            CHECK(co_await exchange("HEAD /slow?three HTTP/1.1\r\nHost: x\r\n"
                                    "Connection: close\r\n\r\n") == head);
            CHECK(co_await exchange("GET / HTTP/1.0\r\n\r\n") ==
                  answer_of("200 OK", "", "Connection: close\r\n"));
            CHECK(co_await exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
                                    "GET / HTTP/1.0\r\n\r\n") ==
                  answer_of("200 OK", "", "Connection: keep-alive\r\n") +
                      answer_of("200 OK", "", "Connection: close\r\n"));
        });
    }

    TEST_CASE("bodies come by length and in chunks, whole and byte by byte") {
        on_both([](host&) -> future<> {
            const std::string body(5000, 'b');
            const std::string by_length =
                "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n" +
                body;
            const std::string in_chunks =
                "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n1000\r\n" +
                body.substr(0, 4096) + "\r\n388\r\n" + body.substr(4096) + "\r\n0\r\n\r\n";
            const std::string expected = answer_of("200 OK", body, "Connection: close\r\n");
            for (const std::string& sent : {by_length, in_chunks}) {
                for (const std::size_t step : {SIZE_MAX, std::size_t{1000}, std::size_t{37}}) {
                    CHECK(((co_await exchange(sent, {}, step)) == expected));
                }
            }
        });
    }

    TEST_CASE("a client that expects to be told to continue is told") {
        on_both([](host&) -> future<> {
            constexpr std::string_view told = "HTTP/1.1 100 Continue\r\n\r\n";
            http_server tested;
            tested.route("/", say_body);
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            co_await client->send(
                bytes_of("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"));
            CHECK(text_of(co_await receive_exactly(*client, told.size())) == told);
            co_await client->send(bytes_of("body"));
            CHECK(dateless(co_await receive_to_end(*client)) ==
                  answer_of("200 OK", "body", "Connection: close\r\n"));
            co_await client->close();
            co_await tested.stop();
        });
    }

    TEST_CASE("a refused request is answered before the connection ends, large as it may be") {
        on_both([](host&) -> future<> {
            http_options small;
            small.header_bytes_max = 1000;
            small.body_bytes_max = 1000;
            small.linger_max = 5s;
            const auto refused = [](std::string_view status) {
                return answer_of(status, std::string(status.substr(4)) + "\n",
                                 "Connection: close\r\n");
            };
            CHECK(co_await exchange("nonsense\r\n\r\n", small) == refused("400 Bad Request"));
            CHECK(co_await exchange(
                      "GET / HTTP/1.1\r\nHost: " + std::string(100'000, 'x') + "\r\n\r\n", small) ==
                  refused("431 Request Header Fields Too Large"));
            CHECK(co_await exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" +
                                        std::string(500'000, 'x'),
                                    small) == refused("413 Content Too Large"));
        });
    }

    TEST_CASE("half a request has a time limit from its first byte, and so has silence") {
        on_both([](host&) -> future<> {
            // One limit at a time: a machine that stands still must not reach the other one first.
            http_options no_halves;
            no_halves.request_time_max = 50ms;
            CHECK(co_await exchange("GET / HT", no_halves) ==
                  answer_of("408 Request Timeout", "Request Timeout\n", "Connection: close\r\n"));
            // A byte now and then does not help.
            CHECK((co_await exchange("GET / HTTP/1.1\r\nHost: " + std::string(500, 'x'), no_halves,
                                     1, 1ms))
                      .starts_with("HTTP/1.1 408"));
            http_options no_silence;
            no_silence.idle_max = 50ms;
            CHECK(co_await exchange("", no_silence) == "");
        });
    }

    TEST_CASE("silence after a request has its own time limit, from the answer on") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.idle_max = 30s;
            const instant began = this_shard().now();
            CHECK(co_await exchange("GET / HTTP/1.1\r\nHost: x\r\n\r\n", options) ==
                  answer_of("200 OK", ""));
            CHECK(this_shard().now() >= began + options.idle_max);
        });
    }

    TEST_CASE("a handler that fails answers 500 and keeps its secret") {
        on_both([](host&) -> future<> {
            CHECK(
                co_await exchange("GET /throws HTTP/1.1\r\nHost: x\r\n\r\n"
                                  "PATCH / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") ==
                answer_of("500 Internal Server Error", "internal error\n") +
                    answer_of("501 Not Implemented", "no such method\n", "Connection: close\r\n"));
        });
    }

    TEST_CASE("a stop answers what is under way and says that it closes") {
        on_both([](host&) -> future<> {
            http_server tested;
            promise<> go_on;
            future<> gone_on = go_on.get_future();
            tested.route("/", [&](const http_request&) -> future<http_response> {
                co_await std::move(gone_on);
                co_return http_response{200, "text/plain; charset=utf-8", "done"};
            });
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            co_await client->send(bytes_of("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
            while (tested.counters().requests == 0) {
                co_await sleep_for(1ms);
            }
            auto stopping = tested.stop();
            go_on.set_value();
            CHECK(dateless(co_await receive_to_end(*client)) ==
                  answer_of("200 OK", "done", "Connection: close\r\n"));
            co_await std::move(stopping);
            co_await client->close();
        });
    }
}

}  // namespace weir::net::test
