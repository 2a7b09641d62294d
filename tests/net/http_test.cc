// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/sim/memory.hh>
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

    TEST_CASE("the last answer arrives whole though the client sends on") {
        on_both([](host&) -> future<> {
            http_server tested;
            const std::string page(60'000, 'p');
            tested.route("/page", [&page](const http_request&) {
                return make_ready_future<http_response>(
                    http_response{200, "text/plain; charset=utf-8", page});
            });
            co_await tested.start(address::loopback(0));
            for (const std::string asked :
                 {"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                  "GET /page HTTP/1.0\r\n\r\n"}) {
                auto client = co_await connection::connect(tested.where());
                const std::string sent = asked + std::string(100'000, 'x');
                auto sending = client->send(bytes_of(sent));
                co_await sleep_for(5ms);
                CHECK(((co_await receive_to_end(*client)).ends_with("\r\n\r\n" + page)));
                co_await std::move(sending);
                co_await client->close();
            }
            co_await tested.stop();
        });
    }

    TEST_CASE("the last answer before a stop arrives whole though the client sends on") {
        on_both([](host&) -> future<> {
            http_server tested;
            promise<> go_on;
            future<> gone_on = go_on.get_future();
            const std::string page(60'000, 'p');
            tested.route("/page", [&](const http_request&) -> future<http_response> {
                co_await std::move(gone_on);
                co_return http_response{200, "text/plain; charset=utf-8", page};
            });
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            co_await client->send(bytes_of("GET /page HTTP/1.1\r\nHost: x\r\n\r\n"));
            while (tested.counters().requests == 0) {
                co_await sleep_for(1ms);
            }
            auto stopping = tested.stop();
            co_await sleep_for(1ms);
            const std::string more(50'000, 'x');
            auto sending = client->send(bytes_of(more));
            co_await sleep_for(1ms);
            go_on.set_value();
            co_await sleep_for(5ms);
            CHECK(((co_await receive_to_end(*client)).ends_with("\r\n\r\n" + page)));
            co_await std::move(sending);
            co_await client->close();
            co_await std::move(stopping);
        });
    }

    TEST_CASE("a client that never stops sending is left after linger_bytes_max") {
        on_both([](host&) -> future<> {
            http_options options;
            options.linger_max = 1h;
            options.linger_bytes_max = 200'000;
            http_server tested(options);
            tested.route("/", say_body);
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            co_await client->send(
                bytes_of("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
            const std::string flood(100'000, 'x');
            bool cut = false;
            for (int i = 0; i < 1000 && !cut; ++i) {
                auto sending = client->send(bytes_of(flood));
                co_await settled(sending);
                cut = sending.failed();
                std::move(sending).ignore();
            }
            CHECK(cut);
            co_await client->close();
            co_await tested.stop();
        });
    }

    TEST_CASE("nobody is told to send a body that will be refused") {
        on_both([](host&) -> future<> {
            const auto asked = [](const char* line) {
                return std::string(line) +
                       " HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                       "Content-Length: 4\r\n\r\n";
            };
            CHECK(co_await exchange(asked("POST /nowhere")) ==
                  answer_of("404 Not Found", "no such page\n", "Connection: close\r\n"));
            CHECK(co_await exchange(asked("PUT /")) ==
                  answer_of("501 Not Implemented", "no such method\n", "Connection: close\r\n"));
            http_options small;
            small.body_bytes_max = 3;
            CHECK(co_await exchange(asked("POST /"), small) == answer_of("413 Content Too Large",
                                                                         "Content Too Large\n",
                                                                         "Connection: close\r\n"));
            CHECK((co_await exchange("POST / HTTP/1.0\r\nExpect: 100-continue\r\n"
                                     "Content-Length: 4\r\n\r\nbody"))
                      .starts_with("HTTP/1.1 200 OK"));
        });
    }

    TEST_CASE("statuses have their names, and those without a body no length") {
        on_simulator([](host&) -> future<> {
            http_server tested;
            unsigned status = 0;
            tested.route("/", [&status](const http_request&) {
                return make_ready_future<http_response>(
                    http_response{status, "text/plain; charset=utf-8", "body"});
            });
            co_await tested.start(address::loopback(0));
            const auto answer_to = [&](unsigned asked) -> future<std::string> {
                status = asked;
                auto client = co_await connection::connect(tested.where());
                co_await client->send(
                    bytes_of("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
                const std::string all = co_await receive_to_end(*client);
                co_await client->close();
                co_return dateless(all);
            };
            CHECK(co_await answer_to(201) ==
                  answer_of("201 Created", "body", "Connection: close\r\n"));
            CHECK(co_await answer_to(429) ==
                  answer_of("429 Too Many Requests", "body", "Connection: close\r\n"));
            CHECK(co_await answer_to(299) ==
                  answer_of("299 Unknown", "body", "Connection: close\r\n"));
            CHECK(co_await answer_to(205) ==
                  answer_of("205 Reset Content", "", "Connection: close\r\n"));
            for (const char* line : {"103 Early Hints", "204 No Content", "304 Not Modified"}) {
                const auto asked = static_cast<unsigned>(std::atoi(line));
                CHECK(co_await answer_to(asked) ==
                      "HTTP/1.1 " + std::string(line) + "\r\nConnection: close\r\n\r\n");
            }
            co_await tested.stop();
        });
    }

    TEST_CASE("an empty line behind a body is no request that never ends") {
        on_simulator([](host&) -> future<> {
            http_options options;
            options.request_time_max = 1s;
            options.idle_max = 30s;
            CHECK(co_await exchange("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nb\r\n",
                                    options) == answer_of("200 OK", "b"));
        });
    }

    TEST_CASE("bodies that stop half way are held to a budget, and others are served beside them") {
        on_simulator(
            [](host&) -> future<> {
                constexpr std::size_t clients = 60, body = 100'000, half = 90'000;
                http_options options;
                options.body_bytes_max = body;
                options.requests_bytes = 1'000'000;
                options.request_time_max = 1h;
                http_server tested(options);
                tested.route("/", say_body);
                co_await tested.start(address::loopback(0));
                const std::string header =
                    "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
                const std::string first = header + std::string(half, 'b');
                const std::string rest(body - half, 'b');
                std::vector<std::unique_ptr<connection>> open;
                std::vector<future<>> sending;
                for (std::size_t i = 0; i < clients; ++i) {
                    open.push_back(co_await connection::connect(tested.where()));
                    sending.push_back(open.back()->send(bytes_of(first)));
                }
                co_await sleep_for(2s);
                CHECK(tested.budget().waiting() > 0);
                CHECK(tested.budget().bytes_used() <=
                      options.requests_bytes + tested.budget().largest());
                auto other = co_await connection::connect(tested.where());
                for (int i = 0; i < 10; ++i) {
                    co_await other->send(
                        bytes_of("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nyes"));
                    const std::size_t size = answer_of("200 OK", "yes").size() + 37;
                    const auto answer = co_await receive_exactly(*other, size);
                    CHECK(dateless(std::string(text_of(answer))) == answer_of("200 OK", "yes"));
                }
                // One after the other gets room, whoever sends on.
                const auto finish = [&rest](connection& of, future<> begun) -> future<> {
                    co_await std::move(begun);
                    co_await of.send(bytes_of(rest));
                    const std::size_t size =
                        answer_of("200 OK", std::string(body, 'b')).size() + 37;
                    CHECK((co_await receive_exactly(of, size)).size() == size);
                };
                std::vector<future<>> finishing;
                for (std::size_t i = 0; i < clients; ++i) {
                    finishing.push_back(finish(*open[i], std::move(sending[i])));
                }
                for (auto& each : finishing) {
                    co_await std::move(each);
                }
                for (auto& each : open) {
                    co_await each->close();
                }
                co_await other->close();
                co_await tested.stop();
                CHECK(tested.budget().bytes_used() == 0);
            },
            1, 3);
    }

    TEST_CASE("an idle connection keeps nothing of the large bodies that it brought") {
        on_simulator([](host&) -> future<> {
            http_server tested;
            tested.route("/", [](const http_request& request) {
                CHECK(request.body.size() == 1'000'000);
                return make_ready_future<http_response>(http_response{.body = "thanks"});
            });
            co_await tested.start(address::loopback(0));
            auto client = co_await connection::connect(tested.where());
            const std::string chunk(1'000'000, 'c');
            const std::size_t before = io::sim::memory::current()->bytes;
            for (int i = 0; i < 2; ++i) {
                co_await client->send(
                    bytes_of("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                             "f4240\r\n"));
                co_await client->send(bytes_of(chunk));
                co_await client->send(bytes_of("\r\n0\r\n\r\n"));
                std::string answer;
                while (!answer.ends_with("thanks")) {
                    answer += text_of((co_await client->receive()).bytes());
                }
            }
            co_await sleep_for(10ms);
            CHECK(io::sim::memory::current()->bytes < before + 500'000);
            co_await client->close();
            co_await tested.stop();
        });
    }
}

}  // namespace weir::net::test
