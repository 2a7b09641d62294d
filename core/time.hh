// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace weir {

using duration = std::chrono::nanoseconds;

/// The clock of a shard: monotonic, read once a turn from the poller, virtual in the simulator.
/// It names a time line for std::chrono and has no now(): ask this_shard().now().
struct shard_clock {
    using duration = weir::duration;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<shard_clock, duration>;
    static constexpr bool is_steady = true;
};

/// A point on the shard's monotonic clock, in nanoseconds from an unspecified start.
using instant = shard_clock::time_point;

/// "Never": a deadline that doesn't pass, a shard with nothing to wait for.
inline constexpr instant never = instant::max();

/// Milliseconds since the Unix epoch: the time that records carry.
using wall_clock_ms = std::int64_t;

}  // namespace weir
