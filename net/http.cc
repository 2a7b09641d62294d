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

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
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

// Beside the bytes that it comes in a chunked body is put together in memory of its own, which may
// have twice its size.
constexpr std::size_t copies_of_chunks = 3;

message_budget_options budget_of(const http_options& options) {
    const std::size_t largest = copies_of_chunks * http_parser::request_bytes_max(options);
    return {.bytes = options.requests_bytes + largest,
            .finish_bytes = largest,
            .whole_bytes = options.requests_bytes / 4};
}

/// With a budget, where nobody chose one, that fits the host's memory.
http_options fitted(http_options options) {
    constexpr std::uint64_t least = 256 * 1024;
    const host_options& host = this_host().options();
    if (options.requests_bytes == http_options{}.requests_bytes && host.memory_bytes > 0) {
        options.requests_bytes = std::clamp<std::uint64_t>(host.memory_bytes / host.shards / 8,
                                                           least, options.requests_bytes);
    }
    return options;
}

void check_option(std::string_view name, std::size_t value, std::size_t least, std::size_t most) {
    if (value < least || value > most) {
        throw error("set up",
                    fmt::format("HTTP server ({} {}, not {} to {})", name, value, least, most),
                    errc::malformed);
    }
}

}  // namespace

void http_options::check() const {
    // The parser notes in 32 bits where things are; a body may have its size of chunk headers.
    constexpr std::size_t most = std::size_t(1) << 30;
    check_option("header_bytes_max", header_bytes_max, 64, most);
    check_option("header_fields_max", header_fields_max, 1, most);
    check_option("body_bytes_max", body_bytes_max, 0, most);
    check_option("requests_bytes", requests_bytes, 4096, std::size_t(1) << 60);
    budget_of(*this).check(copies_of_chunks * http_parser::request_bytes_max(*this));
}

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
    std::string_view fresh() const noexcept {
        return {reinterpret_cast<const char*>(_fresh.bytes().data()), _fresh.bytes().size()};
    }
    std::string_view unread() const noexcept { return _kept.empty() ? fresh() : _kept; }
    void consume(std::size_t n) noexcept;
    void forget() noexcept;
    future<> keep(std::string_view added);
    future<bool> more(bool begun);
    future<> charge(std::size_t capacity, std::size_t needed);
    future<> flush();
    future<> linger();
    future<> refuse(unsigned status);
    void write(const http_response& response, const http_request& to, bool keep_alive);

    http_server& _owner;
    connection& _socket;
    http_parser _parser;
    received _fresh;    // parsed in place when it holds whole requests
    std::string _kept;  // one that came bit by bit is put together here; it ends with _fresh
    message_charge _charge;
    std::optional<peer_deadline> _deadline;  // of the request that has begun
    std::string _out;
};

// What follows a request that was put together lies where it came.
void http_server::session::consume(std::size_t n) noexcept {
    const std::size_t before = _kept.empty() ? 0 : _kept.size() - _fresh.bytes().size();
    WEIR_ASSERT(n >= before);  // without the last of its bytes it was not whole
    _fresh.consume(n - before);
    forget();
}

// Memory that only a large request needed goes, and then its charge.
void http_server::session::forget() noexcept {
    if (_kept.capacity() > kept_capacity) {
        std::string().swap(_kept);  // an assignment would keep the memory
    }
    _kept.clear();
    _parser.forget();
    _charge.give_back();
}

// Puts more of a request behind what there is. Memory for it is charged before it is taken.
future<> http_server::session::keep(std::string_view added) {
    const std::size_t needed = _kept.size() + added.size();
    if (needed > _kept.capacity()) {
        std::size_t capacity = std::min(2 * needed, kept_capacity);
        if (needed > kept_capacity) {
            capacity = std::max(needed, std::min(2 * needed, _parser.bytes_expected()));
            co_await charge(capacity, needed);
        }
        std::string larger;
        larger.reserve(capacity);
        larger += _kept;
        _kept.swap(larger);
    }
    _kept += added;
}

// Waits for bytes behind those that are unread. returns false at the end or if they are late.
future<bool> http_server::session::more(bool begun) {
    if (begun && !_deadline) {
        _deadline.emplace(_owner._options.request_time_max);
    }
    if (_kept.empty()) {
        co_await keep(fresh());
    }
    _fresh = {};  // gives the loan back while we wait
    received arrived = co_await _socket.receive(
        begun ? _deadline->due() : this_shard().now() + _owner._options.idle_max);
    if (arrived.what() == received::status::timed_out && begun) {
        co_await refuse(408);
    }
    if (arrived.what() != received::status::data) {
        co_return false;
    }
    _fresh = std::move(arrived);
    if (!_kept.empty()) {
        co_await keep(fresh());
    }
    co_return true;
}

// For a request of which `needed` bytes are there, and that lies in memory for `capacity`. Not
// charged is what came behind its end, which is less than one receive gives.
future<> http_server::session::charge(std::size_t capacity, std::size_t needed) {
    const std::size_t expected = _parser.bytes_expected();
    const std::size_t copies = _parser.copies_body() ? copies_of_chunks : 1;
    const std::size_t largest = _owner._budget.largest();
    // What came with its end is of the next ones: of it, nothing was said when its claim was made.
    const std::size_t own = std::min(capacity, expected);
    future<> charged =
        _owner._budget.charge(_charge, std::min(copies * own, largest),
                              std::min(copies * expected, largest), needed >= expected);
    if (!charged.available()) {
        if (!_deadline) {
            _deadline.emplace(_owner._options.request_time_max);
        }
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
    forget();
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
    : _options(fitted(std::move(options))),
      _budget(budget_of(_options)),
      _log(this_host().log_sink(), "http", this_host().options().logging) {
    _options.check();
}
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
