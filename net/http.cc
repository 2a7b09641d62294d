// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http.hh>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <iterator>
#include <optional>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/net/http_parser.hh>
#include <weir/net/http_status.hh>
#include <weir/net/http_target.hh>
#include <weir/net/peer_time.hh>

namespace weir::net {

namespace {

constexpr std::string_view plain_text = "text/plain; charset=utf-8";
// Memory that an idle connection keeps for the next request, and that a request may have uncharged.
constexpr std::size_t kept_capacity = 4096;

// A request that is not whole yet lies in a string, which may have twice its size, and a chunked
// body is put together in another.
constexpr std::size_t copies = 3;

message_budget_options budget_of(const http_options& options) {
    const std::size_t largest = copies * http_parser::request_bytes_max(options);
    return {.bytes = options.requests_bytes + largest,
            .finish_bytes = largest,
            .whole_bytes = options.requests_bytes / 4};
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
    void keep();
    future<bool> more(bool begun);
    future<> charge();
    future<> flush();
    future<> linger();
    future<> refuse(unsigned status);
    void write(const http_response& response, const http_request& to, bool keep_alive);

    http_server& _owner;
    connection& _socket;
    http_parser _parser;
    received _fresh;    // parsed in place when it holds whole requests
    std::string _kept;  // else put together here
    std::size_t _kept_read = 0;
    message_charge _charge;
    std::optional<peer_deadline> _deadline;  // of the request that has begun
    std::string _out;
};

// Gives the loan back before a wait, and memory that only a large request needed.
void http_server::session::keep() {
    if (_kept.empty()) {
        if (_kept.capacity() > kept_capacity) {
            std::string().swap(_kept);  // an assignment would keep the memory
        }
        _kept.assign(unread());
    } else if (_kept_read > 0) {
        _kept.erase(0, std::exchange(_kept_read, 0));
    }
    _fresh = {};
}

// Waits for bytes behind those that are unread. returns false at the end or if they are late.
future<bool> http_server::session::more(bool begun) {
    if (begun && !_deadline) {
        _deadline.emplace(_owner._options.request_time_max);
    }
    keep();
    if (_kept.size() > kept_capacity) {
        co_await charge();
    }
    received arrived = co_await _socket.receive(
        begun ? _deadline->due() : this_shard().now() + _owner._options.idle_max);
    if (arrived.what() == received::status::timed_out && begun) {
        co_await refuse(408);
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

// What has come of a request is charged before more of it is taken.
future<> http_server::session::charge() {
    const bool held_nothing = _charge.bytes() == 0;
    future<> charged =
        _owner._budget.charge(_charge, std::min(copies * _kept.size(), _owner._budget.largest()),
                              _owner._budget.largest(), held_nothing);
    if (!charged.available()) {
        const peer_deadline::our_turn wait(*_deadline);
        co_await std::move(charged);
    }
}

future<> http_server::session::flush() {
    co_await _socket.send(std::as_bytes(std::span(_out)));
    if (_out.capacity() > kept_capacity) {
        std::string().swap(_out);
    }
    _out.clear();
}

// Says why and ends. The client may send on for a while: see connection::linger().
future<> http_server::session::refuse(unsigned status) {
    ++_owner._counters.refused;
    write({status, plain_text, std::string(reason_of(status)) + "\n"}, {}, false);
    co_await flush();
    co_await linger();
}

future<> http_server::session::linger() {
    _fresh = {};
    std::string().swap(_kept);
    _kept_read = 0;
    _charge.give_back();
    return _socket.linger(this_shard().now() + _owner._options.linger_max,
                          _owner._options.linger_bytes_max);
}

void http_server::session::write(const http_response& response, const http_request& to,
                                 bool keep_alive) {
    char digits[20];
    const auto append_number = [&](std::uint64_t number) {
        _out.append(digits, std::to_chars(digits, std::end(digits), number).ptr);
    };
    _out += "HTTP/1.1 ";
    append_number(response.status);
    _out += ' ';
    _out += reason_of(response.status);
    _out += _owner.date();
    const bool bodiless = is_bodiless(response.status);
    if (!bodiless) {
        _out += "Content-Type: ";
        _out += response.content_type;
        _out += "\r\nContent-Length: ";
        append_number(response.status == 205 ? 0 : response.body.size());
        _out += "\r\n";
    }
    if (!keep_alive) {
        _out += "Connection: close\r\n\r\n";
    } else if (to.version < 11) {
        _out += "Connection: keep-alive\r\n\r\n";
    } else {
        _out += "\r\n";
    }
    if (!bodiless && response.status != 205 && to.method != "HEAD") {
        _out += response.body;
    }
}

future<> http_server::session::run() {
    for (;;) {
        http_request request;
        const http_parser::result parsed = _parser.parse(unread(), request);
        if (parsed.made == http_parser::progress::bad) {
            co_await refuse(parsed.status);
            co_return;
        }
        if (parsed.made == http_parser::progress::more) {
            if (parsed.wants_continue) {
                http_response refusal;
                if (_owner.find(request, refusal) == nullptr) {
                    ++_owner._counters.requests;
                    write(refusal, request, false);
                    co_await flush();
                    co_await linger();  // it may send its body all the same
                    co_return;
                }
                _out += "HTTP/1.1 100 Continue\r\n\r\n";
            }
            if (!_out.empty()) {
                co_await flush();
            }
            if (!co_await more(parsed.begun)) {
                co_return;
            }
            continue;
        }
        ++_owner._counters.requests;
        _deadline.reset();
        const http_response response = co_await _owner.answer(request);
        const bool keep_alive = request.keep_alive && !_owner._stopping;
        write(response, request, keep_alive);
        consume(parsed.consumed);
        _charge.give_back();
        if (!keep_alive || _out.size() >= _owner._options.responses_ahead_bytes) {
            co_await flush();
        }
        if (!keep_alive) {
            co_await linger();
            co_return;
        }
    }
}

http_server::http_server(http_options options)
    : _options(std::move(options)),
      _budget(budget_of(_options)),
      _log(this_host().log_sink(), "http", this_host().options().logging) {}
http_server::~http_server() = default;

void http_server::route(std::string path, handler serve) {
    _routes.insert_or_assign(std::move(path), std::move(serve));
}

future<> http_server::start(address at) {
    _server = co_await server::start(at, _options.server, [this](connection& socket) -> future<> {
        session client(*this, socket);
        co_await client.run();
    });
    register_metrics();
}

void http_server::register_metrics() {
    const std::vector<metric_label> labels{
        {"server", _options.server.name.empty() ? where().to_string() : _options.server.name}};
    _budget.register_metrics("http " + labels.front().value);
    metrics& registry = this_shard().metrics();
    _metrics.push_back(registry.counter({"weir_http_requests_total", "Requests answered.", labels},
                                        &_counters.requests));
    _metrics.push_back(registry.counter(
        {"weir_http_refused_total", "Requests malformed, too large or too slow.", labels},
        &_counters.refused));
    _metrics.push_back(registry.counter(
        {"weir_http_failed_total", "Requests whose handler failed.", labels}, &_counters.failed));
}

future<> http_server::stop() {
    _stopping = true;
    return _server ? _server->stop() : make_ready_future();
}

// Who serves a request; null: nobody, and `refusal` says why.
const http_server::handler* http_server::find(const http_request& request,
                                              http_response& refusal) const {
    if (request.method != "GET" && request.method != "HEAD" && request.method != "POST") {
        refusal = {501, plain_text, "no such method\n"};
        return nullptr;
    }
    const auto found = _routes.find(request.path);
    if (found == _routes.end()) {
        refusal = {404, plain_text, "no such page\n"};
        return nullptr;
    }
    return &found->second;
}

future<http_response> http_server::answer(const http_request& request) {
    http_response refusal;
    const handler* const serve = find(request, refusal);
    if (serve == nullptr) {
        return make_ready_future<http_response>(std::move(refusal));
    }
    future<http_response> answered = futurize(*serve, request);
    if (answered.available() && !answered.failed()) [[likely]] {
        return answered;
    }
    return std::move(answered).handle_failure(
        [this, path = std::string(request.path)](const std::exception_ptr& failure) {
            return failed(path, failure);
        });
}

http_response http_server::failed(std::string_view path, const std::exception_ptr& failure) {
    ++_counters.failed;
    std::string cause = "not a std::exception";
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& e) {
        cause = e.what();
    } catch (...) {  // NOLINT(bugprone-empty-catch): said above
    }
    _log.write(this_shard().log_context(), log_level::warning, "handler failed",
               {{"path", path}, {"cause", cause}});
    return {500, plain_text, "internal error\n"};
}

// The end of the status line and the field Date, which changes once a second.
std::string_view http_server::date() {
    if (const instant now = this_shard().now(); now != _date_read) {
        _date_read = now;
        const wall_clock_ms second = this_shard().wall_now() / 1000;
        if (second != _date_second) {
            _date_second = second;
            _date = fmt::format("\r\nDate: {:%a, %d %b %Y %H:%M:%S GMT}\r\n",
                                fmt::gmtime(static_cast<std::time_t>(second)));
        }
    }
    return _date;
}

}  // namespace weir::net
