// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <csignal>
#include <cstdint>
#include <ctime>

#include <weir/core/backtrace.hh>
#include <weir/core/metrics.hh>
#include <weir/core/shard.hh>

namespace weir::io {

struct stall_options {
    /// A turn that uses more processor time than this is reported; zero: no watch.
    duration threshold = std::chrono::milliseconds(25);
    /// A turn that sleeps in the kernel for so long, where nothing on a shard may, is told of at
    /// once (turn_watch.hh); zero: no watch.
    duration wait_threshold = std::chrono::milliseconds(100);
    /// How much processor time passes between two looks. An idle shard is never looked at.
    duration interval = std::chrono::milliseconds(10);
};

/// Catches a shard in a turn that takes too long, by a timer on its thread's processor time. The
/// signal's handler only copies addresses; the shard itself reports them after the turn.
/// thread   the shard's
class stall_watch {
  public:
    /// fails    weir::error if the system refuses the timer
    stall_watch(shard& watched, const stall_options& options);
    stall_watch(const stall_watch&) = delete;
    stall_watch& operator=(const stall_watch&) = delete;
    ~stall_watch();

    /// Logs what was caught: call it after each turn.
    /// cost     one load
    void report() {
        if (_caught) [[unlikely]] {
            write_report();
        }
    }

  private:
    static void on_signal(int, siginfo_t* about, void*);
    void look() noexcept;
    void write_report();

    shard& _watched;
    const duration _threshold;
    timer_t _timer{};
    // Written by the handler, which runs in this same thread.
    std::uint64_t _turn = 0;
    duration _last_cpu{};  // processor time at the last look
    instant _last_look{};
    duration _used{};  // of processor time by this turn, at least
    bool _turn_caught = false;
    volatile std::sig_atomic_t _caught = 0;
    duration _reported{};
    scheduling_group _group{};
    backtrace _calls;
    std::array<char, 512> _task{};
    std::uint64_t _stalls = 0;
    metrics::registration _metric;
};

}  // namespace weir::io
