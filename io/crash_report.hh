// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace weir {
class shard;
class task;
}  // namespace weir

namespace weir::io {

/// While it lives, a SIGSEGV, SIGBUS, SIGILL or SIGFPE writes to stderr what struck, on which
/// shard, in which group and task, whether a stack overflowed, and a backtrace with names. Then
/// whoever had the signal before has it again: another handler, or the end of the process by it.
/// thread   one at a time, the first of the process
class crash_reports {
  public:
    crash_reports();
    crash_reports(const crash_reports&) = delete;
    crash_reports& operator=(const crash_reports&) = delete;
    ~crash_reports();

  private:
    bool _installed = false;
};

/// A stack of its own for the signal handlers of this thread, for the time when the thread's, or a
/// fiber's, has overflowed. Without memory for it such a thread dies without a word.
class signal_stack {
  public:
    signal_stack() noexcept;
    signal_stack(const signal_stack&) = delete;
    signal_stack& operator=(const signal_stack&) = delete;
    ~signal_stack();

  private:
    void* _memory = nullptr;
};

/// Writes which task it is, or was, into `text`: the function of a coroutine, the type of any other
/// task, as the linker calls them.
/// thread   any; a signal handler may ask; the task may be gone
void describe_task(const task* which, std::span<char> text) noexcept;

}  // namespace weir::io
