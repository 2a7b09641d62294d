// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/log.hh>
#include <weir/core/metrics.hh>
#include <weir/net/address.hh>
#include <weir/net/connection.hh>
#include <weir/net/listener.hh>

namespace weir::net {

struct server_options {
    std::string name{};  ///< in metrics; empty: its address
    connection_options connection{};
    std::size_t accept_ahead = listener_options{}.accept_ahead;  ///< see listener.hh
    std::size_t connections_max = 10'000;           ///< a shard; one above is closed at once
    duration stop_grace = std::chrono::seconds(5);  ///< for what is under way when we stop
};

struct server_counters {
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;  ///< connections_max was reached
    std::uint64_t failed = 0;   ///< the handler ended with a failure
    std::uint64_t lost = 0;     ///< there was no memory to serve it
    std::uint64_t aborted = 0;  ///< still open after stop_grace
    connection_totals traffic;
};

/// One shard's listener and the connections that it took: each is served by a handler of its own,
/// and closed when that ends. stop() must have ended before its destruction.
/// thread   one shard
class server {
  public:
    /// Serves one connection until it ends; a failure is logged and closes it.
    using handler = std::function<future<>(connection&)>;

    /// fails    weir::error, for example EADDRINUSE; duplicate: the shard has a server of that name
    static future<std::unique_ptr<server>> start(address at, server_options options, handler serve);
    ~server();
    server(const server&) = delete;
    server& operator=(const server&) = delete;

    /// Stops accepting, lets each handler see the end of its connection, aborts what is left
    /// after stop_grace, and waits for every handler.
    future<> stop();

    /// Somebody needs what the sends under way hold: see connection::hurry_send().
    void hurry_sends(instant deadline) noexcept;

    address where() const noexcept { return _listener->where(); }
    std::size_t open_connections() const noexcept { return _open.size(); }
    const server_counters& counters() const noexcept { return _counters; }

  private:
    class grace_timer;
    class pause_timer;
    class leaving;

    server(server_options options, handler serve);
    void register_metrics();
    future<> accept_all();
    void take(std::unique_ptr<connection> taken);
    void lose(const std::exception_ptr& failure) noexcept;
    future<> serve_one(std::uint64_t number, std::unique_ptr<connection> taken);

    const server_options _options;
    const handler _serve;
    logger _log;
    std::unique_ptr<listener> _listener;
    std::unordered_map<std::uint64_t, connection*> _open;  // by the number of its acceptance
    std::unique_ptr<pause_timer> _pause;
    future<> _accepting;
    promise<> _all_closed;
    bool _stopping = false;
    server_counters _counters;
    std::vector<metrics::registration> _metrics;
};

}  // namespace weir::net
