// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <weir/core/time.hh>

#if defined(__x86_64__)
#include <x86gprintrin.h>
#endif

namespace weir::io {

/// The machine's monotonic clock; only backends and start-up code may ask.
/// cost     about 25 ns
instant monotonic_now() noexcept;
/// Milliseconds since the epoch.
wall_clock_ms wall_clock_now() noexcept;
/// The processor time that the calling thread has used. A signal handler may ask.
/// cost     a system call
duration thread_cpu_time() noexcept;
/// A number from the kernel's source of random numbers, for seeds.
std::uint64_t random_seed();

/// A cheap clock for slices of microseconds: the time stamp counter where it is constant, else
/// the monotonic clock.
/// thread   any
class cycle_counter {
  public:
    /// Measures the counter against the monotonic clock: once per host.
    /// cost     some milliseconds, asleep
    static cycle_counter calibrate();
    /// The monotonic clock in nanoseconds, as where the counter is not constant.
    static cycle_counter monotonic() noexcept { return {}; }

    /// cost     about 10 ns (counter), 25 ns (monotonic clock)
    std::uint64_t now() const noexcept {
#if defined(__x86_64__)
        if (_constant) [[likely]] {
            return __rdtsc();
        }
#endif
        return static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count());
    }
    /// How far now() moves in `time`.
    std::uint64_t ticks(duration time) const noexcept {
        return static_cast<std::uint64_t>(static_cast<double>(time.count()) * _ticks_per_ns);
    }
    bool constant() const noexcept { return _constant; }

  private:
    bool _constant = false;
    double _ticks_per_ns = 1;
};

}  // namespace weir::io
