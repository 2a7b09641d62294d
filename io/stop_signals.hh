// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include <signal.h>

namespace weir::io {

/// SIGINT and SIGTERM, taken by one thread in a read, never in a handler. While it lives they are
/// blocked in the thread that made it and in all that this thread starts.
class stop_signals {
  public:
    /// fails    weir::error if the kernel lends no descriptor
    stop_signals();
    stop_signals(const stop_signals&) = delete;
    stop_signals& operator=(const stop_signals&) = delete;
    ~stop_signals();

    /// Blocks until end(); calls `stop` for the first signal that comes after ready(), or came
    /// before it. A second one ends the process as if nobody had blocked it.
    /// thread   the one that made it
    void wait(const std::function<void()>& stop);
    /// Says that `stop` may be called from now on.
    /// thread   any
    void ready() noexcept;
    /// thread   any
    void end() noexcept;

  private:
    enum : std::uint64_t { is_ready = 1, is_ended = 1'000 };

    sigset_t _before;
    struct sigaction _pipe_before;
    int _signals = -1;
    int _event = -1;
};

}  // namespace weir::io
