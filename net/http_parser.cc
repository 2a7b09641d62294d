// SPDX-License-Identifier: Apache-2.0
#include <weir/net/http_parser.hh>

#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>

namespace weir::net {

namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

std::string_view view(beast::string_view text) {
    return {text.data(), text.size()};
}

}  // namespace

/// Beast's parser, noting where things are instead of copying them.
class http_parser::reader final : public http::basic_parser<true> {
  public:
    reader(http_request& into, std::vector<http_field>& fields, std::string& body,
           std::size_t fields_max)
        : _into(into), _fields(fields), _body(body), _fields_max(fields_max) {}

    bool too_many_fields() const noexcept { return _fields.size() > _fields_max; }

  private:
    using error_code = beast::error_code;
    using string_view = beast::string_view;

    void on_request_impl(http::verb, string_view method, string_view target, int,
                         error_code& failure) override {
        failure = {};
        _into.method = view(method);
        const std::string_view whole = view(target);
        const std::size_t mark = whole.find('?');
        _into.path = whole.substr(0, mark);
        _into.query = mark == std::string_view::npos ? "" : whole.substr(mark + 1);
    }
    void on_response_impl(int, string_view, int, error_code& failure) override {
        failure = http::error::bad_version;
    }
    void on_field_impl(http::field, string_view name, string_view value,
                       error_code& failure) override {
        failure = {};
        _fields.push_back({view(name), view(value)});
        if (too_many_fields()) {
            failure = http::error::header_limit;
        }
    }
    void on_header_impl(error_code& failure) override { failure = {}; }
    void on_body_init_impl(boost::optional<std::uint64_t> const&, error_code& failure) override {
        failure = {};
    }
    std::size_t on_body_impl(string_view bytes, error_code& failure) override {
        failure = {};
        _into.body = view(bytes);
        return bytes.size();
    }
    void on_chunk_header_impl(std::uint64_t, string_view, error_code& failure) override {
        failure = {};
    }
    std::size_t on_chunk_body_impl(std::uint64_t, string_view bytes, error_code& failure) override {
        failure = {};
        _body.append(bytes.data(), bytes.size());
        return bytes.size();
    }
    void on_finish_impl(error_code& failure) override { failure = {}; }

    http_request& _into;
    std::vector<http_field>& _fields;
    std::string& _body;
    const std::size_t _fields_max;
};

http_parser::http_parser(const http_options& limits) : _limits(limits) {}
http_parser::~http_parser() = default;

http_parser::result http_parser::parse(std::string_view bytes, http_request& into) {
    into = {};
    _fields.clear();
    _body.clear();
    reader parser(into, _fields, _body, _limits.header_fields_max);
    parser.eager(true);
    parser.header_limit(static_cast<std::uint32_t>(_limits.header_bytes_max));
    parser.body_limit(_limits.body_bytes_max);
    std::size_t consumed = 0;
    while (!parser.is_done()) {
        beast::error_code failure;
        const std::size_t taken = parser.put(
            boost::asio::const_buffer(bytes.data() + consumed, bytes.size() - consumed), failure);
        consumed += taken;
        if (failure == http::error::need_more || (!failure && taken == 0)) {
            return {progress::more};
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
        if (!parser.is_done() && consumed == bytes.size()) {
            return {progress::more};
        }
    }
    if (parser.chunked()) {
        into.body = _body;
    }
    into.fields = _fields;
    into.keep_alive = parser.keep_alive();
    return {progress::complete, consumed, 0};
}

}  // namespace weir::net
