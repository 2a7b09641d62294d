// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <memory>
#include <optional>

#include <weir/core/future.hh>
#include <weir/net/address.hh>
#include <weir/net/connection.hh>

namespace weir::net {

/// Takes connections on an address. Each shard has its own on the same port (SO_REUSEPORT), and
/// the kernel spreads connections over them. close() must have ended before its destruction.
/// thread   one shard
class listener {
  public:
    static constexpr std::size_t accept_ahead = 64;  ///< accepted and not yet taken

    /// at       with port 0 the kernel picks one: see where()
    /// fails    weir::error, for example EADDRINUSE or EACCES
    /// totals   of its connections; borrowed, null for none
    static future<std::unique_ptr<listener>> listen(address at, connection_options options = {},
                                                    connection_totals* totals = nullptr);
    ~listener();
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    /// The next connection; null after close().
    future<std::unique_ptr<connection>> accept();
    /// Stops taking connections. What was accepted and not taken is closed.
    future<> close();

    address where() const noexcept { return _where; }
    /// How often accepting failed, for want of descriptors for example; it goes on after a pause.
    const std::uint64_t& accept_failures() const noexcept { return _failures; }

  private:
    class accept_operation;
    class retry_timer;

    listener(int fd, address where, const connection_options& options, connection_totals* totals);
    void start();
    void arrived(int fd);
    void stopped(std::int32_t result);
    future<std::unique_ptr<connection>> take(int fd);

    const int _fd;
    const address _where;
    const connection_options _options;
    connection_totals* const _totals;
    std::unique_ptr<accept_operation> _operation;
    std::unique_ptr<retry_timer> _retry;
    std::deque<int> _queue;
    promise<int> _waiting;
    promise<> _closing;
    bool _accepting = false;
    bool _closed = false;
    std::uint64_t _failures = 0;
};

}  // namespace weir::net
