// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <weir/net/http_parser.hh>

namespace weir::net::test {

namespace {

using progress = http_parser::progress;

/// What parsing came to, as text that can be compared.
std::string told(const http_parser::result& outcome, const http_request& request) {
    if (outcome.made == progress::bad) {
        return fmt::format("bad {}", outcome.status);
    }
    std::string text =
        fmt::format("{} {} ?{} v{} {} body={}", request.method, request.path, request.query,
                    request.version, request.keep_alive ? "keep" : "close", request.body);
    for (const http_field& each : request.fields) {
        text += fmt::format(" [{}={}]", each.name, each.value);
    }
    for (const http_field& each : request.trailers) {
        text += fmt::format(" <{}={}>", each.name, each.value);
    }
    return text;
}

/// Parses all requests in `input`, which comes in pieces of `step` bytes, in memory that moves.
std::vector<std::string> parse_all(std::string_view input, std::size_t step,
                                   const http_options& limits = {}) {
    http_parser parser(limits);
    std::vector<std::string> all;
    std::string unread;
    for (std::size_t at = 0; at < input.size() || !unread.empty();) {
        http_request request;
        unread.shrink_to_fit();
        const std::string moved = unread;
        const auto outcome = parser.parse(moved, request);
        if (outcome.made == progress::more) {
            if (at == input.size()) {
                all.emplace_back("more");
                break;
            }
            const std::size_t count = std::min(step, input.size() - at);
            unread += input.substr(at, count);
            at += count;
            continue;
        }
        all.push_back(told(outcome, request));
        if (outcome.made == progress::bad) {
            break;
        }
        unread.erase(0, outcome.consumed);
    }
    return all;
}

std::string one(std::string_view input, const http_options& limits = {}) {
    const auto all = parse_all(input, input.size(), limits);
    return all.empty() ? "" : all.front();
}

constexpr std::string_view stream =
    "GET /a?b=c HTTP/1.1\r\nHost: x\r\nAccept:  */* \r\nEmpty:\r\n\r\n"
    "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nhello world"
    "POST /c HTTP/1.1\r\nhost: y\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: t\r\n\r\n"
    "HEAD / HTTP/1.0\r\n\r\n"
    "GET http://127.0.0.1:80/absolute?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

}  // namespace

TEST_SUITE("net/http_parser") {
    TEST_CASE("requests are the same however their bytes were cut") {
        const auto whole = parse_all(stream, stream.size());
        const std::string chunked =
            "POST /c ? v11 keep body=hello world [host=y] [Transfer-Encoding=chunked] <Trailer=t>";
        CHECK(whole == std::vector<std::string>{
                           "GET /a ?b=c v11 keep body= [Host=x] [Accept=*/*] [Empty=]",
                           "POST /p ? v11 keep body=hello world [Host=x] [Content-Length=11]",
                           chunked,
                           "HEAD / ? v10 close body=",
                           "GET /absolute ?q v11 close body= [Host=x] [Connection=close]",
                       });
        for (std::size_t step = 1; step < 200; ++step) {
            CAPTURE(step);
            CHECK(parse_all(stream, step) == whole);
        }
    }

    TEST_CASE("what is not HTTP, or could be read in two ways, is bad") {
        for (const std::string_view bad : {
                 std::string_view("\r\n\r\n\r\n"), std::string_view("GET\r\n\r\n"),
                 std::string_view("GET / HTTP/2\r\nHost: x\r\n\r\n"),
                 std::string_view("GET / HTTP/1.x\r\nHost: x\r\n\r\n"),
                 std::string_view("GET / HTTP/1.1\r\n\r\n"),  // no Host
                 std::string_view("GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n"),
                 std::string_view("GET / HTTP/1.1\r\nHost x\r\n\r\n"),
                 std::string_view("GET / HTTP/1.1\nHost: x\n\n\r\n\r\n"),
                 std::string_view("GET / HTTP/1.1\r\nHost: x\r\nBad Name: y\r\n\r\n"),
                 std::string_view("GET / HTTP/1.1\r\nHost: \x01\r\n\r\n"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                                  "Content-Length: 2\r\n\r\nab"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\n"
                                  "Transfer-Encoding: gzip\r\n\r\n"),
                 std::string_view("POST / HTTP/1.1\r\nHost: x\r\n"
                                  "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n"),
                 std::string_view("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),  // TLS
             }) {
            CAPTURE(bad);
            CHECK(one(bad) == "bad 400");
            CHECK(parse_all(bad, 1).back() == "bad 400");
        }
    }

    TEST_CASE("a request of another version of HTTP is told so") {
        for (const std::string_view other : {std::string_view("GET / HTTP/2.0\r\nHost: x\r\n\r\n"),
                                             std::string_view("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
                                             std::string_view("GET / HTTP/0.9\r\n\r\n")}) {
            CAPTURE(other);
            CHECK(one(other) == "bad 505");
            CHECK(parse_all(other, 1).back() == "bad 505");
        }
    }

    TEST_CASE("what comes behind a body is no header field and changes nothing") {
        const std::string chunked =
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n";
        CHECK(one(chunked + "X-Real-IP: 1.2.3.4\r\nConnection: close\r\n\r\n") ==
              "POST / ? v11 keep body=b [Host=x] [Transfer-Encoding=chunked] "
              "<X-Real-IP=1.2.3.4> <Connection=close>");
        CHECK(one("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: x\r\n\r\n") ==
              "bad 400");
        CHECK(one("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
                  "Host: y\r\nExpect: 100-continue\r\n\r\n")
                  .ends_with("<Host=y> <Expect=100-continue>"));
        http_options limits;
        limits.header_fields_max = 3;
        CHECK(one(chunked + "A: 1\r\n\r\n", limits).starts_with("POST"));
        CHECK(one(chunked + "A: 1\r\nB: 2\r\n\r\n", limits) == "bad 431");
    }

    TEST_CASE("an old client's chunks are read, and its connection closes") {
        CHECK(one("POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "1\r\nb\r\n0\r\n\r\n")
                  .starts_with("POST / ? v10 close body=b"));
        CHECK(one("POST / HTTP/1.0\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "1\r\nb\r\n0\r\n\r\n") == "bad 400");
        CHECK(one("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                  .starts_with("GET / ? v10 keep"));
    }

    TEST_CASE("a body that is encoded otherwise than in chunks is refused, by what it lacks") {
        const auto encoded = [](const std::string& fields) {
            return one("POST / HTTP/1.1\r\nHost: x\r\n" + fields + "\r\n0\r\n\r\n");
        };
        CHECK(encoded("Transfer-Encoding: Chunked\r\n").starts_with("POST"));
        CHECK(encoded("Transfer-Encoding: gzip, chunked\r\n") == "bad 501");
        CHECK(encoded("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n") == "bad 501");
        CHECK(encoded("Transfer-Encoding: chunked, gzip\r\n") == "bad 400");
        CHECK(encoded("Transfer-Encoding: chunked, chunked\r\n") == "bad 400");
        CHECK(encoded("Transfer-Encoding: \r\n") == "bad 400");
        CHECK(encoded("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n") == "bad 400");
    }

    TEST_CASE("a request has one host, and that is one") {
        for (const char* good : {"", "x", "x:80", "x:", "a.b-c_d~e:65535", "127.0.0.1", "[::1]:80",
                                 "[v1.x:y]", "a%20b", "!$&'()*+,;="}) {
            CAPTURE(good);
            CHECK(one("GET / HTTP/1.1\r\nHost: " + std::string(good) + "\r\n\r\n")
                      .starts_with("GET"));
        }
        for (const char* bad : {"a b", "a/b", "x?y", "x#y", "u@x", "x:y", "x:123456", "a:1:2",
                                "[::1", "[]", "[::1]x", "a%2", "a%zz", "\"x\"", "a\\b", "x, y"}) {
            CAPTURE(bad);
            CHECK(one("GET / HTTP/1.1\r\nHost: " + std::string(bad) + "\r\n\r\n") == "bad 400");
            CHECK(one("GET / HTTP/1.0\r\nHost: " + std::string(bad) + "\r\n\r\n") == "bad 400");
        }
        CHECK(one("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n") == "bad 400");
        CHECK(one("GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n") == "bad 400");
        CHECK(one("GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n") == "bad 400");
    }

    TEST_CASE("a target is a path or a whole address, and nothing else") {
        const auto asked = [](const std::string& target, const char* method = "GET") {
            const std::string told = one(method + (" " + target) + " HTTP/1.1\r\nHost: x\r\n\r\n");
            const std::size_t end = told.find(" v11");
            return end == std::string::npos ? told : told.substr(0, end);
        };
        CHECK(asked("/") == "GET / ?");
        CHECK(asked("/a?b?c") == "GET /a ?b?c");
        CHECK(asked("//x/y") == "GET //x/y ?");
        CHECK(asked("/x?http://127.0.0.1/z") == "GET /x ?http://127.0.0.1/z");
        CHECK(asked("http://127.0.0.1?x=/admin") == "GET / ?x=/admin");
        CHECK(asked("HTTP://127.0.0.1:80/a?b") == "GET /a ?b");
        CHECK(asked("https://[::1]/a") == "GET /a ?");
        CHECK(asked("http://127.0.0.1") == "GET / ?");
        CHECK(asked("*", "OPTIONS") == "OPTIONS * ?");
        CHECK(asked("h:443", "CONNECT") == "CONNECT h:443 ?");
        for (const char* bad :
             {"admin", "*", "h:443", "?x", "http:/h/", "http:///a", "http://", "http://:80/",
              "http://localhost@x/", "ftp://127.0.0.1/", "://127.0.0.1/", "http://localhost b/",
              "/a#b", "http://127.0.0.1/#b", "http://127.0.0.1:x/"}) {
            CAPTURE(bad);
            CHECK(asked(bad) == "bad 400");
        }
    }

    TEST_CASE("an empty line before a request is passed over") {
        const std::string request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for (const std::size_t step : {std::size_t{1}, std::size_t{1000}}) {
            const auto all = parse_all("\r\n" + request + "\r\n" + request, step);
            CHECK(all == std::vector<std::string>{one(request), one(request)});
        }
        CHECK(one("\r\n\r\n\r\n" + request) == "bad 400");
        CHECK(one("\n" + request) == "bad 400");
    }

    TEST_CASE("a line feed alone ends no line, and is not waited behind") {
        CHECK(one("GET / HTTP/1.1\n") == "bad 400");
        CHECK(one("GET / HTTP/1.1\r\nHost: x\n\r\n") == "bad 400");
        CHECK(one("GET / HTTP/1.1\r\nHost: x\r\nA: b\n\n") == "bad 400");
    }

    TEST_CASE("limits on header and body have their own answers") {
        http_options limits;
        limits.header_bytes_max = 200;
        limits.header_fields_max = 3;
        limits.body_bytes_max = 10;
        const std::string head = "POST / HTTP/1.1\r\nHost: x\r\n";
        CHECK(one(head + "Long: " + std::string(300, 'x'), limits) == "bad 431");
        CHECK(parse_all(head + "Long: " + std::string(300, 'x'), 1, limits).back() == "bad 431");
        CHECK(one("GET /" + std::string(300, 'x'), limits) == "bad 431");
        CHECK(one(head + "A: 1\r\nB: 2\r\nC: 3\r\n\r\n", limits) == "bad 431");
        CHECK(one(head + "Content-Length: 10\r\n\r\n0123456789", limits).starts_with("POST"));
        CHECK(one(head + "Content-Length: 11\r\n\r\n", limits) == "bad 413");
        const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
        CHECK(one(chunked + "a\r\n0123456789\r\n0\r\n\r\n", limits).starts_with("POST"));
        CHECK(one(chunked + "b\r\n01234567890\r\n0\r\n\r\n", limits) == "bad 413");
        CHECK(parse_all(chunked + "b\r\n01234567890\r\n0\r\n\r\n", 1, limits).back() == "bad 413");
        // A chunk header without end takes no endless memory.
        CHECK(one(chunked + "1;" + std::string(100'000, 'x'), limits) == "bad 413");
        CHECK(one("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n") ==
              "bad 400");
    }

    TEST_CASE("a last chunk that comes byte by byte, with a trailer, is no surprise") {
        const std::string chunked =
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        CHECK(parse_all(chunked + "0\r\nTrailer: t\r\n\r\n", 1) ==
              parse_all(chunked + "0\r\nTrailer: t\r\n\r\n", 1000));
        CHECK(parse_all(chunked + "0\r\nTrai", 1).back() == "more");
    }

    TEST_CASE("a client that waits for leave to go on gets it once") {
        const http_options limits;
        http_parser parser(limits);
        std::string bytes =
            "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
        http_request request;
        CHECK(parser.parse(bytes, request).wants_continue);
        CHECK(request.path == "/");
        CHECK(request.method == "POST");
        CHECK(!parser.parse(bytes, request).wants_continue);
        bytes += "ok";
        CHECK(parser.parse(bytes, request).made == progress::complete);
        CHECK(request.body == "ok");
    }

    TEST_CASE("an old client is never told to continue") {
        const http_options limits;
        http_parser parser(limits);
        http_request request;
        const auto outcome = parser.parse(
            "POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", request);
        CHECK(outcome.made == progress::more);
        CHECK(!outcome.wants_continue);
    }

    TEST_CASE("damaged requests parse alike whole and byte by byte, and never crash") {
        std::uint64_t random = 42;
        const auto draw = [&random] {
            random = random * 6364136223846793005 + 1442695040888963407;
            return random >> 33;
        };
        for (int round = 0; round < 2000; ++round) {
            std::string damaged(stream);
            for (std::uint64_t harm = 1 + draw() % 4; harm > 0; --harm) {
                const std::size_t at = draw() % damaged.size();
                switch (draw() % 3) {
                    case 0:
                        damaged[at] = static_cast<char>(draw());
                        break;
                    case 1:
                        damaged.erase(at, 1 + draw() % 20);
                        break;
                    default:
                        damaged.insert(at, damaged.substr(draw() % damaged.size(), draw() % 20));
                }
            }
            CAPTURE(round);
            CAPTURE(damaged);
            CHECK(parse_all(damaged, damaged.size()) == parse_all(damaged, 1 + draw() % 7));
        }
    }
}

}  // namespace weir::net::test
