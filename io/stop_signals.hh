// SPDX-License-Identifier: Apache-2.0
#pragma once

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

    /// Blocks until end(); calls `stop(signal)` for each signal that comes, or came since the
    /// construction. After a second one the process ends as if nobody had blocked it.
    /// thread   the one that made it
    void wait(const std::function<void(int)>& stop);
    /// thread   any
    void end() noexcept;

  private:
    sigset_t _before;
    struct sigaction _pipe_before;
    int _signals = -1;
    int _event = -1;
};

}  // namespace weir::io
