// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/net/address.hh>
#include <weir/net/connection.hh>

namespace weir::net {

struct listener_options {
    connection_options connection{};
    /// Accepted and not yet taken: so many may be taken in one turn. Then the kernel's line holds
    /// the others.
    std::size_t accept_ahead = 256;
    duration retry_pause = std::chrono::milliseconds(50);  ///< after an accept that failed
};

struct listener_counters {
    std::uint64_t accept_failures = 0;  ///< for want of descriptors, for example; it goes on
    std::uint64_t accepts_held = 0;     ///< accepting paused since accept_ahead was reached
};

/// Takes connections on an address. Each shard has its own on the same port (SO_REUSEPORT), and
/// the kernel spreads connections over them. One that goes without close() is closed in the
/// background.
/// thread   one shard
class listener {
  public:
    /// at       with port 0 the kernel picks one: see where()
    /// fails    weir::error, for example EADDRINUSE or EACCES
    /// totals   of its connections; borrowed, null for none
    static future<std::unique_ptr<listener>> listen(address at, listener_options options = {},
                                                    connection_totals* totals = nullptr);
    static future<std::unique_ptr<listener>> listen(address at,
                                                    const connection_options& connections,
                                                    connection_totals* totals = nullptr) {
        return listen(at, listener_options{.connection = connections}, totals);
    }
    ~listener();
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    /// The next connection; null after close(). Several may wait, first come, first served. Who
    /// drops the future, or gives up, takes nothing: the next to ask gets the connection.
    /// give_up  once triggered it fails with the reason
    /// deadline then it fails with errc::timed_out
    /// fails    std::bad_alloc, before anything is taken
    /// cost     no wait if some are there
    future<std::unique_ptr<connection>> accept();
    future<std::unique_ptr<connection>> accept(abort_source& give_up);
    future<std::unique_ptr<connection>> accept(instant deadline);
    /// Stops taking connections. What was accepted and not taken is closed.
    future<> close();

    address where() const noexcept;
    const listener_counters& counters() const noexcept;

  private:
    class acceptor;
    explicit listener(std::shared_ptr<acceptor> made) noexcept : _acceptor(std::move(made)) {}

    const std::shared_ptr<acceptor> _acceptor;  // which close() keeps to its end
};

}  // namespace weir::net
