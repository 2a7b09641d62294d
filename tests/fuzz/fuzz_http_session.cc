// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/sim/world.hh>
#include <weir/net/http.hh>
#include <weir/net/http_parser.hh>
#include <weir/net/http_target.hh>

namespace {

using namespace weir;

net::http_options small_limits() {
    net::http_options limits;
    limits.header_bytes_max = 512;
    limits.header_fields_max = 8;
    limits.body_bytes_max = 2048;
    limits.requests_bytes = 4096;
    return limits;
}

/// The statuses that a server must say to these bytes and the end: one for each whole request, and
/// the last one for what is no request.
std::string answers_by_hand(std::string_view input, const net::http_options& limits) {
    net::http_parser parser(limits);
    std::string statuses;
    for (;;) {
        net::http_request request;
        const auto outcome = parser.parse(input, request);
        if (outcome.made == net::http_parser::progress::more) {
            return statuses;
        }
        if (outcome.made == net::http_parser::progress::bad) {
            return statuses + std::to_string(outcome.status) + ' ';
        }
        const bool known =
            request.method == "GET" || request.method == "HEAD" || request.method == "POST";
        statuses += !known ? "501 " : request.path == "/" ? "200 " : "404 ";
        if (!request.keep_alive) {
            return statuses;
        }
        input.remove_prefix(outcome.consumed);
    }
}

/// Whether a client may be told to go on, or refused before its body: that depends on the cuts.
bool may_expect(std::string_view input) {
    constexpr std::string_view name = "expect";
    for (std::size_t at = 0; at + name.size() <= input.size(); ++at) {
        if (net::equal_in_any_case(input.substr(at, name.size()), name)) {
            return true;
        }
    }
    return false;
}

/// The statuses of the answers, whose bodies have no line that looks like one.
std::string statuses_of(std::string_view answers) {
    constexpr std::string_view begin = "HTTP/1.1 ";
    std::string statuses;
    for (std::size_t at = 0; (at = answers.find(begin, at)) != std::string_view::npos;) {
        at += begin.size();
        statuses.append(answers.substr(at, 3)).append(" ");
    }
    return statuses;
}

future<> send_all(net::connection& to, std::string_view text, std::size_t step) {
    try {
        while (!text.empty()) {
            co_await to.send(std::as_bytes(std::span(text.substr(0, step))));
            text.remove_prefix(std::min(step, text.size()));
        }
        co_await to.shutdown_send();
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): the server has had enough
    }
}

future<> converse(std::string_view input, std::size_t step) {
    const auto limits = small_limits();
    net::http_server server(limits);
    server.route("/", [](const net::http_request& request) {
        WEIR_ASSERT(request.body.size() <= 2048);
        return make_ready_future<net::http_response>(net::http_response{.body = "fine\n"});
    });
    co_await server.start(net::address::loopback(0));
    auto client = co_await net::connection::connect(server.where());
    auto sending = send_all(*client, input, step);
    std::string answers;
    for (;;) {
        const net::received some = co_await client->receive();
        if (some.what() != net::received::status::data) {
            break;
        }
        answers.append(reinterpret_cast<const char*>(some.bytes().data()), some.bytes().size());
    }
    co_await std::move(sending);
    if (!may_expect(input)) {
        WEIR_ASSERT(statuses_of(answers) == answers_by_hand(input, limits));
    }
    co_await client->close();
    co_await server.stop();
    WEIR_ASSERT(server.budget().bytes_used() == 0);
}

}  // namespace

/// A client's bytes, sent through the simulated network in pieces, must be answered as the parser
/// alone reads them, and the connection always ends without a reset.
// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const std::size_t step = data[0] < 128 ? 1 + data[0] : std::size_t{data[0]} * 10;
    io::sim::world world(data[0]);
    auto& host = world.add_host("fuzzed", 1);
    host.start([&](weir::host&) { return converse(input, step); });
    WEIR_ASSERT(world.run_until([&] { return host.exited(); }, std::chrono::hours(10)));
    WEIR_ASSERT(host.failure().empty());
    return 0;
}
