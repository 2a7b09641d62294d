// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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
        constexpr double longest = 9e18;  // half of what a counter can show
        return static_cast<std::uint64_t>(
            std::min(static_cast<double>(time.count()) * _ticks_per_ns, longest));
    }
    bool constant() const noexcept { return _constant; }

  private:
    bool _constant = false;
    double _ticks_per_ns = 1;
};

/// The monotonic clock by the counter, for who asks several times a microsecond: takes the kernel's
/// time once a millisecond and counts on from there. Never goes back.
/// thread   one
class counted_clock {
  public:
    explicit counted_clock(const cycle_counter& cycles) noexcept
        : _cycles(cycles),
          _interval(cycles.ticks(std::chrono::milliseconds(1))),
          _ns_per_tick(1e6 / static_cast<double>(_interval)) {
        synchronise();
    }

    /// cost     that of the counter
    instant now() noexcept {
        _ticks = _cycles.now();
        // As unsigned numbers, so that a counter that went back is noticed too.
        if (_ticks - _synchronised_ticks >= _interval) [[unlikely]] {
            synchronise();
        }
        const auto elapsed = static_cast<double>(_ticks - _synchronised_ticks) * _ns_per_tick;
        return _last = _synchronised + duration(static_cast<std::int64_t>(elapsed));
    }
    /// What the counter said at the last now().
    std::uint64_t ticks() const noexcept { return _ticks; }

  private:
    void synchronise() noexcept;

    const cycle_counter _cycles;
    const std::uint64_t _interval;  // ticks
    const double _ns_per_tick;
    std::uint64_t _ticks = 0;
    std::uint64_t _synchronised_ticks = 0;
    instant _synchronised{};
    instant _last{};
};

}  // namespace weir::io
