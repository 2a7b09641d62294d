// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/net/http.hh>

namespace weir::net {

/// How a figure of the admin page reads.
enum class admin_unit : std::uint8_t { count, bytes, count_per_second, bytes_per_second };

/// A table of an application's own on the admin page, made of its metrics on all shards.
struct admin_table {
    struct column {
        std::string header;
        std::string metric;  ///< its values are added up over shards and over other labels
        admin_unit unit = admin_unit::count;
    };
    std::string title{};
    std::string row_header{};               ///< above the names of the rows
    std::vector<std::string> row_labels{};  ///< a row for each combination of their values
    std::vector<column> columns{};
    std::size_t rows_max = 200;  ///< more are left out, and the page says so
};

struct admin_options {
    address at = address::loopback(9644);
    std::string title = "weir";
    std::vector<admin_table> tables{};
    http_options http{};
};

/// What an operator sees of a host: `/` a page that shows the shards live, `/shards.json` its
/// figures, `/metrics` for Prometheus, `/healthz`. It listens on one shard and asks the others.
/// stop() must have ended before its destruction.
/// thread   shard 0
class admin_server {
  public:
    explicit admin_server(admin_options options);
    ~admin_server();

    /// fails    weir::error, for example EADDRINUSE
    future<> start();
    future<> stop();

    /// Has `serve` answer for a path of an application's own. Before start().
    void route(std::string path, http_server::handler serve) {
        _http.route(std::move(path), std::move(serve));
    }
    /// As route(), and the page links to it as `name`.
    void add_page(std::string path, std::string name, http_server::handler serve);

    /// What `/healthz` says: 200 "ok" for an empty reason, else 503 and the reason. At first it
    /// is "starting"; once the host is asked to stop it is "stopping", whatever was set.
    void set_unready(std::string reason) { _unready = std::move(reason); }
    void set_ready() { _unready.clear(); }

    address where() const noexcept { return _http.where(); }

  private:
    std::string unready() const;
    future<http_response> healthz(const http_request& request);
    future<http_response> metrics_text(const http_request& request);
    future<http_response> shards_json(const http_request& request);

    const admin_options _options;
    http_server _http;
    instant _started{};
    std::string _links;  // of added pages, as JSON
    std::string _unready = "starting";
};

/// The page: one file, with nothing to load but /shards.json.
extern const char admin_page[];

}  // namespace weir::net
