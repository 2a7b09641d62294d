// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http_parser.hh>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

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

// "0\r\n\r\n": of a chunked body so much must still come, and Beast asserts that it has come when
// it looks at the last chunk for the second time.
constexpr std::size_t last_chunk_bytes = 5;

std::string_view path_of(std::string_view target) noexcept {
    // A client may name the whole address; we don't tell hosts apart.
    if (target.starts_with("http://")) {
        const std::size_t slash = target.find('/', 7);
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    }
    return target;
}

}  // namespace

/// Beast's parser, noting where things are instead of copying them.
class http_parser::reader final : public http::basic_parser<true> {
  public:
    reader(std::vector<located_field>& fields, std::string& body, std::size_t fields_max)
        : _fields(fields), _chunked_body(body), _fields_max(fields_max) {}

    void set_bytes(std::string_view bytes) noexcept { _bytes = bytes; }
    stretch method() const noexcept { return _method; }
    stretch target() const noexcept { return _target; }
    stretch body() const noexcept { return _body; }
    std::size_t chunked_bytes() const noexcept { return _chunked_body.size(); }
    unsigned version() const noexcept { return _version; }
    bool has_transfer_encoding() const noexcept { return _transfer_encoding; }
    bool has_host() const noexcept { return _host; }
    bool expects_continue() const noexcept { return _expects_continue; }

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
        if (_fields.size() == _fields_max) {
            failure = http::error::header_limit;
            return;
        }
        if (!within(value)) {
            failure = http::error::bad_value;  // folded over lines, which is obsolete
            return;
        }
        _fields.push_back({locate(name), value.empty() ? stretch{} : locate(value)});
        _transfer_encoding |= known == http::field::transfer_encoding;
        _host |= known == http::field::host;
        _expects_continue |= known == http::field::expect && beast::iequals(value, "100-continue");
    }
    void on_header_impl(error_code& failure) override { failure = {}; }
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
    std::string& _chunked_body;
    const std::size_t _fields_max;
    std::string_view _bytes;
    unsigned _version = 11;
    stretch _method;
    stretch _target;
    stretch _body;
    bool _transfer_encoding = false;
    bool _host = false;
    bool _expects_continue = false;
};

/// The request under way.
struct http_parser::state {
    std::optional<reader> parser;
    std::vector<located_field> located;
    std::vector<http_field> fields;
    std::string chunked_body;
    std::size_t consumed = 0;
    std::size_t searched = 0;  // for the end of the header
    bool told_to_continue = false;
};

http_parser::http_parser(const http_options& limits)
    : _limits(limits), _state(std::make_unique<state>()) {}
http_parser::~http_parser() = default;

http_parser::result http_parser::parse(std::string_view bytes, http_request& into) {
    if (!_state->parser) {
        _state->located.clear();
        _state->chunked_body.clear();
        _state->consumed = 0;
        _state->searched = 0;
        _state->told_to_continue = false;
        reader& begun = _state->parser.emplace(_state->located, _state->chunked_body,
                                               _limits.header_fields_max);
        begun.eager(true);
        begun.header_limit(static_cast<std::uint32_t>(_limits.header_bytes_max));
        begun.body_limit(_limits.body_bytes_max);
    }
    result outcome = go_on(bytes);
    if (outcome.made == progress::complete && !finish(bytes, into)) {
        outcome = {progress::bad, 0, 400};
    }
    if (outcome.made != progress::more) {
        _state->parser.reset();
    }
    return outcome;
}

// Beast judges what it can see of a header, and may look past its end. It gets the header whole
// and alone, so that the judgement does not depend on how the bytes were cut.
http_parser::result http_parser::take_header(std::string_view bytes) {
    if (!bytes.empty() && (bytes[0] < 'A' || bytes[0] > 'Z')) {
        return {progress::bad, 0, 400};  // no method, perhaps TLS
    }
    constexpr std::string_view blank_line = "\r\n\r\n";
    const std::size_t found = bytes.find(blank_line, _state->searched);
    if (found == std::string_view::npos) {
        _state->searched = bytes.size() - std::min(bytes.size(), blank_line.size() - 1);
        return bytes.size() < _limits.header_bytes_max ? result{progress::more}
                                                       : result{progress::bad, 0, 431};
    }
    const std::size_t length = found + blank_line.size();
    if (length > _limits.header_bytes_max) {
        return {progress::bad, 0, 431};
    }
    const result taken = put(bytes.substr(0, length));
    return taken.made != progress::bad && !_state->parser->is_header_done()
               ? result{progress::bad, 0, 400}
               : taken;
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
    if (bytes.size() >
        _limits.header_bytes_max + 2 * _limits.body_bytes_max + chunk_overhead_bytes) {
        return {progress::bad, 0, 413};
    }
    const bool waits = parser.is_header_done() && parser.expects_continue() &&
                       _state->consumed == bytes.size() && parser.body().length == 0 &&
                       parser.chunked_bytes() == 0;
    return {progress::more, 0, 0, waits && !std::exchange(_state->told_to_continue, true)};
}

// returns false if the request is not to be trusted after all.
bool http_parser::finish(std::string_view bytes, http_request& into) const {
    const reader& parser = *_state->parser;
    // An encoding that does not say where the body ends lets two servers see different requests.
    if ((parser.has_transfer_encoding() && !parser.chunked()) ||
        (parser.version() >= 11 && !parser.has_host())) {
        return false;
    }
    _state->fields.clear();
    for (const located_field& each : _state->located) {
        _state->fields.push_back({each.name.of(bytes), each.value.of(bytes)});
    }
    into.method = parser.method().of(bytes);
    const std::string_view target = path_of(parser.target().of(bytes));
    const std::size_t mark = target.find('?');
    into.path = target.substr(0, mark);
    into.query = mark == std::string_view::npos ? "" : target.substr(mark + 1);
    into.fields = _state->fields;
    into.body = parser.chunked() ? std::string_view(_state->chunked_body) : parser.body().of(bytes);
    into.version = parser.version();
    into.keep_alive = parser.keep_alive();
    return true;
}

}  // namespace weir::net
