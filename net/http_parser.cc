// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http_parser.hh>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/rfc7230.hpp>

#include <weir/net/http_target.hh>

namespace weir::net {

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

/// A part of the bytes, which may move between calls.
struct stretch {
    std::uint32_t offset = 0;
    std::uint32_t length = 0;

    std::string_view of(std::string_view bytes) const noexcept {
        return bytes.substr(offset, length);
    }
};

struct located_field {
    stretch name;
    stretch value;
};

// Chunk headers may be longer than what they head: what a chunked request may hold of them,
// beside a body's worth of them.
constexpr std::size_t chunk_overhead_bytes = 64 * 1024;

// Memory that a body may leave behind for the next.
constexpr std::size_t kept_capacity = 4096;

// "0\r\n\r\n": of a chunked body so much must still come, and Beast asserts that it has come when
// it looks at the last chunk for the second time.
constexpr std::size_t last_chunk_bytes = 5;

// Old clients send an empty line too many behind a body.
constexpr std::size_t blank_lines_max = 1;

}  // namespace

/// Beast's parser, noting where things are instead of copying them.
class http_parser::reader final : public http::basic_parser<true> {
  public:
    reader(std::vector<located_field>& fields, std::vector<located_field>& trailers,
           std::string& body, std::size_t fields_max)
        : _fields(fields), _trailers(trailers), _chunked_body(body), _fields_max(fields_max) {}

    void set_bytes(std::string_view bytes) noexcept { _bytes = bytes; }
    stretch method() const noexcept { return _method; }
    stretch target() const noexcept { return _target; }
    stretch body() const noexcept { return _body; }
    std::size_t chunked_bytes() const noexcept { return _chunked_body.size(); }
    unsigned version() const noexcept { return _version; }
    bool stays() const noexcept { return _keep_alive; }
    bool expects_continue() const noexcept { return _expects_continue && _version >= 11; }

    /// returns  the status to refuse a complete header with, 0 if it is good
    unsigned judge() const noexcept;

  private:
    using error_code = beast::error_code;
    using string_view = beast::string_view;

    stretch locate(string_view text) const noexcept {
        return {static_cast<std::uint32_t>(text.data() - _bytes.data()),
                static_cast<std::uint32_t>(text.size())};
    }
    bool within(string_view text) const noexcept {
        return text.empty() || (text.data() >= _bytes.data() &&
                                text.data() + text.size() <= _bytes.data() + _bytes.size());
    }

    void on_request_impl(http::verb, string_view method, string_view target, int version,
                         error_code& failure) override {
        failure = {};
        _version = static_cast<unsigned>(version);
        _method = locate(method);
        _target = locate(target);
    }
    void on_response_impl(int, string_view, int, error_code& failure) override {
        failure = http::error::bad_version;
    }
    void on_field_impl(http::field known, string_view name, string_view value,
                       error_code& failure) override {
        failure = {};
        if (_fields.size() + _trailers.size() == _fields_max) {
            failure = http::error::header_limit;
            return;
        }
        if (!within(value)) {
            failure = http::error::bad_value;  // folded over lines, which is obsolete
            return;
        }
        const located_field found{locate(name), value.empty() ? stretch{} : locate(value)};
        // What comes behind the body says nothing of how the request is to be read.
        if (is_header_done()) {
            _trailers.push_back(found);
            return;
        }
        _fields.push_back(found);
        if (known == http::field::transfer_encoding) {
            take_encodings(value);
        } else if (known == http::field::host) {
            ++_hosts;
            _good_host = is_host({value.data(), value.size()});
        } else if (known == http::field::expect) {
            _expects_continue |= beast::iequals(value, "100-continue");
        }
    }
    void take_encodings(string_view value) noexcept {
        _transfer_encoding = true;
        for (const auto& each : http::token_list(value)) {
            _encodings += beast::iequals(each, "chunked") ? 0 : 1;
            _chunkings += beast::iequals(each, "chunked") ? 1 : 0;
        }
    }
    void on_header_impl(error_code& failure) override {
        failure = {};
        // An old client that frames as a new one does may have had help on the way.
        _keep_alive = keep_alive() && !(_version < 11 && _transfer_encoding);
    }
    void on_body_init_impl(boost::optional<std::uint64_t> const&, error_code& failure) override {
        failure = {};
    }
    std::size_t on_body_impl(string_view bytes, error_code& failure) override {
        failure = {};
        if (_body.length == 0) {
            _body = locate(bytes);
        } else {
            _body.length += static_cast<std::uint32_t>(bytes.size());
        }
        return bytes.size();
    }
    void on_chunk_header_impl(std::uint64_t, string_view, error_code& failure) override {
        failure = {};
    }
    std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code& failure) override {
        failure = {};
        _chunked_body.append(bytes.data(), bytes.size());
        return bytes.size();
    }
    void on_finish_impl(error_code& failure) override { failure = {}; }

    std::vector<located_field>& _fields;
    std::vector<located_field>& _trailers;
    std::string& _chunked_body;
    const std::size_t _fields_max;
    std::string_view _bytes;
    unsigned _version = 11;
    stretch _method;
    stretch _target;
    stretch _body;
    bool _transfer_encoding = false;
    unsigned _encodings = 0;  // other than chunked
    unsigned _chunkings = 0;
    unsigned _hosts = 0;
    bool _good_host = true;
    bool _expects_continue = false;
    bool _keep_alive = false;
};

namespace {

/// Whether a request line names a version of HTTP that is written otherwise.
bool is_of_another_version(std::string_view header) noexcept {
    constexpr std::string_view form = " HTTP/1.1";
    const std::string_view line = header.substr(0, header.find("\r\n"));
    if (line.size() < form.size()) {
        return false;
    }
    const std::string_view version = line.substr(line.size() - form.size());
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    return version.starts_with(" HTTP/") && is_digit(version[6]) && version[6] != '1' &&
           version[7] == '.' && is_digit(version[8]);
}

}  // namespace

unsigned http_parser::reader::judge() const noexcept {
    // An encoding that does not say where the body ends, or a second host, lets two servers see
    // different requests.
    if ((_transfer_encoding && (!chunked() || _chunkings > 1)) || _hosts > 1 || !_good_host ||
        (_version >= 11 && _hosts == 0) ||
        !split_target(_method.of(_bytes), _target.of(_bytes)).has_value()) {
        return 400;
    }
    return _encodings > 0 ? 501 : 0;
}

/// The request under way.
struct http_parser::state {
    std::optional<reader> parser;
    std::vector<located_field> located;
    std::vector<located_field> located_trailers;
    std::vector<http_field> fields;
    std::vector<http_field> trailers;
    std::string chunked_body;
    std::size_t consumed = 0;
    std::size_t skipped = 0;   // empty lines before the request
    std::size_t searched = 0;  // for the end of the header, behind them
    std::size_t header_bytes = 0;
    bool told_to_continue = false;
};

http_parser::http_parser(const http_options& limits)
    : _limits(limits), _state(std::make_unique<state>()) {}
http_parser::~http_parser() = default;

void http_parser::begin() {
    _state->located.clear();
    _state->located_trailers.clear();
    forget();
    _state->consumed = 0;
    _state->skipped = 0;
    _state->searched = 0;
    _state->told_to_continue = false;
    reader& begun = _state->parser.emplace(_state->located, _state->located_trailers,
                                           _state->chunked_body, _limits.header_fields_max);
    begun.eager(true);
    begun.header_limit(static_cast<std::uint32_t>(_limits.header_bytes_max));
    begun.body_limit(_limits.body_bytes_max);
}

void http_parser::forget() noexcept {
    if (_state->chunked_body.capacity() > kept_capacity) {
        std::string().swap(_state->chunked_body);
    }
    _state->chunked_body.clear();
}

bool http_parser::copies_body() const noexcept {
    return !_state->parser || !_state->parser->is_header_done() || _state->parser->chunked();
}

std::size_t http_parser::bytes_expected() const noexcept {
    if (copies_body()) {
        return request_bytes_max(_limits);
    }
    return _state->skipped + _state->header_bytes + _state->parser->content_length().value_or(0);
}

std::size_t http_parser::request_bytes_max(const http_options& limits) noexcept {
    return limits.header_bytes_max + 2 * limits.body_bytes_max + chunk_overhead_bytes;
}

http_parser::result http_parser::parse(std::string_view bytes, http_request& into) {
    if (!_state->parser) {
        begin();
    }
    std::size_t& skipped = _state->skipped;
    while (skipped < 2 * blank_lines_max && bytes.substr(skipped).starts_with("\r\n")) {
        skipped += 2;
    }
    const std::string_view request = bytes.substr(skipped);
    result outcome = go_on(request);
    if (outcome.made == progress::complete) {
        fill_head(request, into);
        fill_body(request, into);
        outcome.consumed += skipped;
    } else if (outcome.wants_continue) {
        fill_head(request, into);
    }
    outcome.begun = !request.empty();
    if (outcome.made != progress::more) {
        _state->parser.reset();
    }
    return outcome;
}

// Beast judges what it can see of a header, and may look past its end. It gets the header whole
// and alone, so that the judgement does not depend on how the bytes were cut.
http_parser::result http_parser::take_header(std::string_view bytes) {
    if (bytes.empty() || (bytes == "\r" && _state->skipped < 2 * blank_lines_max)) {
        return {progress::more};  // perhaps one more empty line
    }
    if (bytes[0] < 'A' || bytes[0] > 'Z') {
        return {progress::bad, 0, 400};  // no method, perhaps TLS
    }
    const auto end = find_end(bytes.substr(0, _limits.header_bytes_max));
    if (!end) {
        return {progress::bad, 0, 400};
    }
    if (*end == 0) {
        return bytes.size() < _limits.header_bytes_max ? result{progress::more}
                                                       : result{progress::bad, 0, 431};
    }
    const std::string_view header = bytes.substr(0, *end);
    _state->header_bytes = header.size();
    const result taken = put(header);
    if (taken.made == progress::bad) {
        return is_of_another_version(header) ? result{progress::bad, 0, 505} : taken;
    }
    if (!_state->parser->is_header_done()) {
        return {progress::bad, 0, 400};
    }
    const unsigned refused = _state->parser->judge();
    return refused != 0 ? result{progress::bad, 0, refused} : taken;
}

// Where the header ends: 0 if that is still to come; nothing if a line ends with a line feed alone,
// which others may read otherwise.
std::optional<std::size_t> http_parser::find_end(std::string_view bytes) {
    std::size_t& searched = _state->searched;
    for (std::size_t at; (at = bytes.find('\n', searched)) != std::string_view::npos;) {
        if (at == 0 || bytes[at - 1] != '\r') {
            return std::nullopt;
        }
        if (at >= 3 && bytes[at - 2] == '\n') {
            return at + 1;
        }
        searched = at + 1;
    }
    searched = bytes.size();
    return 0;
}

// Gives Beast what it has not consumed yet.
http_parser::result http_parser::put(std::string_view bytes) {
    reader& parser = *_state->parser;
    std::size_t& consumed = _state->consumed;
    while (!parser.is_done() && consumed < bytes.size()) {
        if (parser.is_header_done() && parser.chunked() &&
            bytes.size() - consumed < last_chunk_bytes) {
            break;
        }
        beast::error_code failure;
        const std::size_t taken = parser.put(
            boost::asio::const_buffer(bytes.data() + consumed, bytes.size() - consumed), failure);
        consumed += taken;
        if (failure == http::error::need_more || (!failure && taken == 0)) {
            break;
        }
        if (failure == http::error::header_limit) {
            return {progress::bad, 0, 431};
        }
        if (failure == http::error::body_limit) {
            return {progress::bad, 0, 413};
        }
        if (failure) {
            return {progress::bad, 0, 400};
        }
    }
    return {parser.is_done() ? progress::complete : progress::more};
}

http_parser::result http_parser::go_on(std::string_view bytes) {
    reader& parser = *_state->parser;
    parser.set_bytes(bytes);
    if (!parser.is_header_done()) {
        const result taken = take_header(bytes);
        if (taken.made == progress::bad || !parser.is_header_done()) {
            return taken;
        }
    }
    const result taken = put(bytes);
    if (taken.made == progress::bad) {
        return taken;
    }
    if (taken.made == progress::complete) {
        return {progress::complete, _state->consumed};
    }
    if (bytes.size() > request_bytes_max(_limits)) {
        return {progress::bad, 0, 413};
    }
    const bool waits = parser.is_header_done() && parser.expects_continue() &&
                       _state->consumed == bytes.size() && parser.body().length == 0 &&
                       parser.chunked_bytes() == 0;
    return {progress::more, 0, 0, waits && !std::exchange(_state->told_to_continue, true)};
}

void http_parser::fill_head(std::string_view bytes, http_request& into) const {
    const reader& parser = *_state->parser;
    const auto views = [bytes](const std::vector<located_field>& from,
                               std::vector<http_field>& to) -> std::span<const http_field> {
        to.clear();
        for (const located_field& each : from) {
            to.push_back({each.name.of(bytes), each.value.of(bytes)});
        }
        return to;
    };
    into.method = parser.method().of(bytes);
    const http_target target = *split_target(into.method, parser.target().of(bytes));
    into.path = target.path;
    into.query = target.query;
    into.fields = views(_state->located, _state->fields);
    into.trailers = views(_state->located_trailers, _state->trailers);
    into.version = parser.version();
    into.keep_alive = parser.stays();
}

void http_parser::fill_body(std::string_view bytes, http_request& into) const {
    const reader& parser = *_state->parser;
    into.body = parser.chunked() ? std::string_view(_state->chunked_body) : parser.body().of(bytes);
}

}  // namespace weir::net
