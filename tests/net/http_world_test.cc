// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/net/http.hh>

namespace weir::net::test {

namespace sim = io::sim;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 8080;
constexpr std::size_t body_bytes_max = 40'000;

std::uint64_t draw(std::uint64_t below) {
    return this_shard().random() % below;
}

http_options options() {
    http_options made;
    made.body_bytes_max = body_bytes_max;
    made.requests_bytes = 300'000;  // a few bodies
    made.request_time_max = 2s;
    made.idle_max = 5s;
    made.linger_max = 1s;
    made.server.connections_max = 200;
    return made;
}

/// Sends it in pieces of any size, with rests between some.
future<> send_cut(connection& to, std::string_view text) {
    while (!text.empty()) {
        const std::size_t piece = std::min<std::size_t>(text.size(), 1 + draw(20'000));
        co_await to.send(bytes_of(text.substr(0, piece)));
        text.remove_prefix(piece);
        if (draw(4) == 0) {
            co_await sleep_for(duration(draw(2'000'000)));
        }
    }
}

std::string request_with(const std::string& body, bool last) {
    std::string made = "POST /echo HTTP/1.1\r\nHost: tested\r\n";
    made += last ? "Connection: close\r\n" : "";
    if (draw(2) == 0) {
        return made + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    }
    made += "Transfer-Encoding: chunked\r\n\r\n";
    for (std::size_t at = 0; at < body.size();) {
        const std::size_t size = std::min<std::size_t>(body.size() - at, 1 + draw(9'000));
        char length[20];
        std::snprintf(length, sizeof length, "%zx\r\n", size);
        made += length + body.substr(at, size) + "\r\n";
        at += size;
    }
    return made + "0\r\n\r\n";
}

/// Asks some things of one connection and wants each answered as it should be.
future<> be_honest(address at, std::size_t& served) {
    auto own = co_await connection::connect(at);
    const std::uint64_t requests = 1 + draw(4);
    for (std::uint64_t i = 0; i < requests; ++i) {
        const bool last = i + 1 == requests;
        const std::string body(draw(body_bytes_max), static_cast<char>('a' + draw(26)));
        const std::string asked = request_with(body, last);
        auto sending = send_cut(*own, asked);
        std::string answer;
        while (answer.find("\r\n\r\n") == std::string::npos ||
               answer.size() < answer.find("\r\n\r\n") + 4 + body.size()) {
            const received some = co_await own->receive(this_shard().now() + 60s);
            REQUIRE(some.what() == received::status::data);
            answer += text_of(some.bytes());
        }
        co_await std::move(sending);
        REQUIRE(answer.starts_with("HTTP/1.1 200 OK"));
        REQUIRE(answer.ends_with("\r\n\r\n" + body));
        ++served;
    }
    REQUIRE((co_await own->receive(this_shard().now() + 60s)).what() == received::status::end);
    co_await own->close();
}

/// Does harm by one connection, in one of the ways that there are.
future<> be_hostile(address at) {
    auto own = co_await connection::connect(at);
    const std::string whole = request_with(std::string(draw(body_bytes_max), 'h'), false);
    std::string harm;
    switch (draw(6)) {
        case 0:  // stops half way
            harm = whole.substr(0, draw(whole.size()));
            break;
        case 1:  // says something else
            harm = whole;
            harm[draw(200)] = static_cast<char>(draw(256));
            break;
        case 2:  // asks and never listens
            for (int i = 0; i < 50; ++i) {
                harm += whole;
            }
            break;
        case 3:  // floods behind its last request
            harm = request_with("x", true) + std::string(200'000, 'f');
            break;
        case 4:  // a header without an end
            harm = "GET / HTTP/1.1\r\n" + std::string(draw(100'000), 'H');
            break;
        default:  // says nothing
            break;
    }
    try {
        co_await send_cut(*own, harm);
        co_await sleep_for(duration(draw(4'000'000'000)));
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): the server has had enough
    }
    if (draw(2) == 0) {
        own->abort();
    }
    // And goes without a word.
}

future<> be_client(address at, bool honest, std::size_t& served, std::size_t& done) {
    co_await sleep_for(10ms);  // the server is there by then
    for (int i = 0; i < 10; ++i) {
        if (honest) {
            co_await be_honest(at, served);
        } else {
            co_await be_hostile(at);
        }
    }
    ++done;
}

}  // namespace

TEST_SUITE("net/http") {
    TEST_CASE("honest clients are served beside hostile ones, and nothing is kept") {
        sim::explore(1, 10, rough_world, [](sim::world& world) {
            auto& server = world.add_host("server", 1);
            auto& clients = world.add_host("clients", 1);
            const address at = address::from(server.at(port));
            bool kept_nothing = false;
            server.start([&, at](host& own) -> future<> {
                http_server tested(options());
                tested.route("/echo", [](const http_request& request) {
                    return make_ready_future<http_response>(
                        http_response{.body = std::string(request.body)});
                });
                co_await tested.start(at);
                co_await own.until_stop();
                co_await tested.stop();
                kept_nothing = tested.budget().bytes_used() == 0 &&
                               tested.open_connections() == 0 &&
                               this_shard().counters().failures_ignored == 0;
            });
            std::size_t served = 0;
            clients.start([&, at](host&) -> future<> {
                std::vector<future<>> all;
                std::size_t done = 0;
                for (int i = 0; i < 24; ++i) {
                    all.push_back(be_client(at, i % 3 == 0, served, done));
                }
                for (auto& each : all) {
                    co_await std::move(each);
                }
                CHECK(done == 24);
            });
            REQUIRE(world.run_until([&] { return clients.exited(); }, 1h));
            CHECK(clients.failure() == "");
            CHECK(served >= 80);
            world.stop(server);
            REQUIRE(world.run_until([&] { return server.exited(); }, 60s));
            CHECK(server.failure() == "");
            CHECK(kept_nothing);
        });
    }
}

}  // namespace weir::net::test
