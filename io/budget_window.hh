// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include <weir/core/time.hh>

namespace weir::io {

/// Limits of the budget of a shard's reads and writes; see budget.hh. Sizes are in cost: an
/// operation costs its bytes and `operation_cost`.
struct budget_options {
    std::uint64_t operation_cost = 16 << 10;  ///< beside its bytes
    std::uint64_t window_min = 256 << 10;     ///< in flight is always allowed
    std::uint64_t window_max = 64 << 20;      ///< above it nothing is started
    /// Of one read or write that is not direct. Larger ones go in pieces, one after
    /// the other, each with a turn of its own: here, on the device and on the processor, which
    /// copies so much in a fraction of uring_options::quota. A multiple of 4 KiB.
    std::uint64_t operation_bytes_max = 512 << 10;
    /// Of one direct read or write, which the processor does not copy. A multiple of 4 KiB.
    std::uint64_t direct_operation_bytes_max = 2 << 20;
    /// Of all that are not direct and start in one turn of the shard; one always may.
    std::uint64_t copied_bytes_max = 2 << 20;
    /// What a group with scheduler::default_shares may start in a round.
    std::uint64_t quantum = 64 << 10;
    /// Latency that an operation may have beyond that of an idle device before the window shrinks;
    /// or as much again as that of the idle device, whichever is more.
    duration slack = std::chrono::milliseconds(1);
    /// The window is in force while more than one group has used the device within this time.
    duration contention_memory = std::chrono::seconds(1);
    /// A window that is always in use goes to its minimum so often, for a moment, to see what an
    /// idle device does.
    duration probe_period = std::chrono::seconds(10);

    /// fails    throws errc::malformed, naming the option, if limits contradict each other
    void check() const;
};

/// How much may be in flight on a device, learned from its latency. What an operation takes while
/// next to nothing else is in flight is the device's own; what it takes beyond that it waited in
/// the device, where nobody can tell a group's operations from another's. Once a round the window
/// shrinks in proportion if they waited too long, or grows if someone waits here for nothing.
/// thread   one shard
class budget_window {
  public:
    /// Of operations whose latencies may be compared: read or write, and four sizes.
    static constexpr unsigned kinds = 8;
    static unsigned kind_of(bool writes, std::uint64_t bytes) noexcept {
        const unsigned size = bytes <= (16 << 10)    ? 0
                              : bytes <= (128 << 10) ? 1
                              : bytes <= (1 << 20)   ? 2
                                                     : 3;
        return size + 4 * writes;
    }

    struct counters {
        std::uint64_t size = 0;  ///< now
        std::uint64_t grows = 0;
        std::uint64_t shrinks = 0;
        std::uint64_t probes = 0;
    };

    explicit budget_window(const budget_options& options) noexcept;

    std::uint64_t size() const noexcept { return _counters.size; }
    /// Whether an operation that finds `in_flight` finds the device next to idle.
    bool idle(std::uint64_t in_flight) const noexcept { return in_flight < _options.window_min; }

    struct sample {
        unsigned kind;
        duration latency;
        instant admitted;
        bool idle;  ///< see idle(), when it was admitted
    };
    /// An operation has completed. Learns the latency of the idle device.
    void learn(const sample& of, instant now) noexcept {
        if (of.idle) {
            learn_idle(_idle[of.kind], of.latency);
            _idle_seen = now;
        }
    }
    /// As learn(), and tunes the window, which is in force.
    /// waiting  whether something waits for room in it
    void tune(const sample& of, instant now, bool waiting) noexcept;
    /// The window comes into force.
    void begin(instant now) noexcept;

    const counters& counted() const noexcept { return _counters; }
    /// The latency of a kind on the idle device; 0: not known yet.
    duration idle_latency(unsigned kind) const noexcept { return _idle[kind]; }

  private:
    static constexpr unsigned round_samples = 16;

    void learn_idle(duration& known, duration latency) noexcept;
    void begin_round(instant now) noexcept;
    void end_round(instant now) noexcept;
    void probe_if_due(instant now) noexcept;

    const budget_options _options;
    counters _counters;
    std::array<duration, kinds> _idle{};
    instant _idle_seen{};             // when an operation last found the device idle
    std::uint64_t _before_probe = 0;  // the size to go back to; 0: no probe is under way
    bool _doubles = true;             // grows fast until it has shrunk once

    // The round: operations that were admitted since the window has its size.
    instant _round_began{};
    unsigned _samples = 0;
    duration _latency{};   // of its samples together
    duration _target{};    // what that should be at most
    bool _wanted = false;  // something waited for room
};

}  // namespace weir::io
