// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <weir/core/future.hh>
#include <weir/net/message_budget.hh>
#include <weir/net/server.hh>

namespace weir::net {

struct http_field {
    std::string_view name;
    std::string_view value;
};

/// A request, as views that are valid until the handler's future is settled.
struct http_request {
    std::string_view method;
    std::string_view path;   ///< the target up to '?'
    std::string_view query;  ///< what follows it
    std::span<const http_field> fields;
    std::span<const http_field>
        trailers;  ///< behind a chunked body: apart, since anybody adds them
    std::string_view body;
    unsigned version = 11;  ///< 10 for HTTP/1.0
    bool keep_alive = true;

    /// The value of the first field of that name, in any case; empty if there is none.
    std::string_view field(std::string_view name) const noexcept;
};

struct http_response {
    unsigned status = 200;
    std::string_view content_type = "text/plain; charset=utf-8";  ///< a literal
    std::string body{};
};

struct http_options {
    server_options server{};
    std::size_t header_bytes_max = 16 * 1024;  ///< above: 431
    std::size_t header_fields_max = 100;       ///< above: 431
    std::size_t body_bytes_max = 1024 * 1024;  ///< above: 413
    /// Of requests that come bit by bit, a shard, until they are answered, beside one of the
    /// largest; then clients wait, and their time does not run. Their first 4 KiB each are free,
    /// and what came in one piece. Where that is left as it is and the host knows its memory: at
    /// most an eighth of the shard's part.
    std::size_t requests_bytes = 64 * 1024 * 1024;
    std::size_t responses_ahead_bytes = 64 * 1024;         ///< of pipelined requests, then sent
    duration request_time_max = std::chrono::seconds(10);  ///< from its first byte on; then 408
    duration idle_max = std::chrono::seconds(60);          ///< between requests
    /// For a client to read our last answer: what it sends meanwhile is read away.
    duration linger_max = std::chrono::seconds(2);
    std::size_t linger_bytes_max = 64 * 1024 * 1024;  ///< likewise

    /// fails    weir::error (malformed) that names the one that can't work
    void check() const;
};

struct http_counters {
    std::uint64_t requests = 0;
    std::uint64_t refused = 0;  ///< malformed, too large or too slow
    std::uint64_t failed = 0;   ///< the handler failed
};

/// A small HTTP/1.1 server: keep-alive, pipelining, limits; Beast's parser inside. Answers go out
/// in the order of the requests, those that are ready together at once. stop() must have ended
/// before its destruction.
/// thread   one shard
class http_server {
  public:
    using handler = std::function<future<http_response>(const http_request&)>;

    /// fails    as http_options::check()
    explicit http_server(http_options options = {});
    ~http_server();

    /// Has `serve` answer GET, HEAD and POST for exactly `path`. If it fails, the client gets 500
    /// and the log the cause. Before start().
    void route(std::string path, handler serve);
    /// fails    weir::error, for example EADDRINUSE
    future<> start(address at);
    future<> stop();

    address where() const noexcept { return _server->where(); }
    /// What requests hold that came bit by bit.
    const message_budget& budget() const noexcept { return _budget; }
    const http_counters& counters() const noexcept { return _counters; }
    std::size_t open_connections() const noexcept { return _server->open_connections(); }

  private:
    class session;

    void register_metrics();
    const handler* find(const http_request& request, http_response& refusal) const;
    future<http_response> answer(const http_request& request);
    http_response failed(std::string_view path, const std::exception_ptr& failure);
    std::string_view date();

    const http_options _options;
    std::map<std::string, handler, std::less<>> _routes;
    message_budget _budget;
    std::unique_ptr<server> _server;
    logger _log;
    http_counters _counters;
    std::vector<metrics::registration> _metrics;
    bool _stopping = false;
    instant _date_read{};
    wall_clock_ms _date_second = -1;
    std::string _date;
};

}  // namespace weir::net
