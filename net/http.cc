// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http.hh>

#include <algorithm>
#include <iterator>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/net/http_parser.hh>

namespace weir::net {

namespace {

std::string_view reason_of(unsigned status) {
    switch (status) {
        case 200:
            return "OK";
        case 400:
            return "Bad Request";
        case 404:
            return "Not Found";
        case 405:
            return "Method Not Allowed";
        case 408:
            return "Request Timeout";
        case 413:
            return "Content Too Large";
        case 431:
            return "Request Header Fields Too Large";
        case 500:
            return "Internal Server Error";
        case 503:
            return "Service Unavailable";
        default:
            return "Unknown";
    }
}

bool equal_in_any_case(std::string_view left, std::string_view right) noexcept {
    return std::ranges::equal(left, right, [](char a, char b) {
        return (a >= 'A' && a <= 'Z' ? a + 32 : a) == (b >= 'A' && b <= 'Z' ? b + 32 : b);
    });
}

}  // namespace

std::string_view http_request::field(std::string_view name) const noexcept {
    for (const http_field& each : fields) {
        if (equal_in_any_case(each.name, name)) {
            return each.value;
        }
    }
    return {};
}

/// One client: what came in and isn't parsed yet, and answers that aren't sent yet.
class http_server::session {
  public:
    session(http_server& owner, connection& socket)
        : _owner(owner), _socket(socket), _parser(owner._options) {}

    future<> run();

  private:
    std::string_view unread() const noexcept {
        if (!_kept.empty()) {
            return std::string_view(_kept).substr(_kept_read);
        }
        return {reinterpret_cast<const char*>(_fresh.bytes().data()), _fresh.bytes().size()};
    }
    void consume(std::size_t n) noexcept {
        if (_kept.empty()) {
            _fresh.consume(n);
        } else if (_kept_read += n; _kept_read == _kept.size()) {
            _kept.clear();
            _kept_read = 0;
        }
    }
    future<bool> more();
    future<> flush();
    void write(const http_response& response, bool head_only, bool keep_alive);

    http_server& _owner;
    connection& _socket;
    http_parser _parser;
    received _fresh;    // parsed in place when it holds whole requests
    std::string _kept;  // else put together here
    std::size_t _kept_read = 0;
    std::string _out;
};

// Waits for bytes behind those that are unread. returns false at the end or if they are late.
future<bool> http_server::session::more() {
    const bool between = unread().empty();
    const instant now = this_shard().now();
    if (!between && _kept.empty()) {
        _kept.assign(unread());
    } else if (_kept_read > 0) {
        _kept.erase(0, std::exchange(_kept_read, 0));
    }
    _fresh = {};
    const duration patience = between ? _owner._options.idle_max : _owner._options.request_time_max;
    received arrived = co_await _socket.receive(now + patience);
    if (arrived.what() == received::status::timed_out && !between) {
        ++_owner._counters.refused;
        write({408, "text/plain; charset=utf-8", "the request took too long\n"}, false, false);
        co_await flush();
    }
    if (arrived.what() != received::status::data) {
        co_return false;
    }
    if (_kept.empty()) {
        _fresh = std::move(arrived);
    } else {
        _kept.append(reinterpret_cast<const char*>(arrived.bytes().data()), arrived.bytes().size());
    }
    co_return true;
}

future<> http_server::session::flush() {
    if (!_out.empty()) {
        co_await _socket.send(std::as_bytes(std::span(_out)));
        _out.clear();
    }
}

void http_server::session::write(const http_response& response, bool head_only, bool keep_alive) {
    fmt::format_to(std::back_inserter(_out),
                   "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}\r\n",
                   response.status, reason_of(response.status), _owner.date(),
                   response.content_type, response.body.size(),
                   keep_alive ? "" : "Connection: close\r\n");
    if (!head_only) {
        _out += response.body;
    }
}

future<> http_server::session::run() {
    for (bool open = true; open;) {
        http_request request;
        const http_parser::result parsed = _parser.parse(unread(), request);
        switch (parsed.made) {
            case http_parser::progress::more:
                co_await flush();
                open = co_await more();
                break;
            case http_parser::progress::bad:
                ++_owner._counters.refused;
                write({parsed.status, "text/plain; charset=utf-8",
                       std::string(reason_of(parsed.status)) + "\n"},
                      false, false);
                open = false;
                break;
            case http_parser::progress::complete: {
                ++_owner._counters.requests;
                const bool keep_alive = request.keep_alive;
                const http_response response = co_await _owner.answer(request);
                write(response, request.method == "HEAD", keep_alive);
                consume(parsed.consumed);
                open = keep_alive;
                if (_out.size() >= _owner._options.responses_ahead_bytes) {
                    co_await flush();
                }
                break;
            }
        }
    }
    co_await flush();
    co_await _socket.shutdown_send();
}

http_server::http_server(http_options options) : _options(options) {}
http_server::~http_server() = default;

void http_server::route(std::string path, handler serve) {
    _routes.insert_or_assign(std::move(path), std::move(serve));
}

future<> http_server::start(address at) {
    _server = co_await server::start(at, _options.server, [this](connection& socket) -> future<> {
        session client(*this, socket);
        co_await client.run();
    });
}

future<> http_server::stop() {
    return _server ? _server->stop() : make_ready_future();
}

future<http_response> http_server::answer(const http_request& request) {
    const auto found = _routes.find(std::string(request.path));
    if (found == _routes.end()) {
        return make_ready_future<http_response>(
            http_response{404, "text/plain; charset=utf-8", "no such page\n"});
    }
    return futurize(found->second, request).handle_failure([](std::exception_ptr failure) {
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& e) {
            return http_response{500, "text/plain; charset=utf-8", std::string(e.what()) + "\n"};
        }
    });
}

std::string_view http_server::date() {
    const wall_clock_ms second = this_shard().wall_now() / 1000;
    if (second != _date_second) {
        _date_second = second;
        _date = fmt::format("{:%a, %d %b %Y %H:%M:%S GMT}",
                            fmt::gmtime(static_cast<std::time_t>(second)));
    }
    return _date;
}

}  // namespace weir::net
