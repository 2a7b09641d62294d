// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <weir/core/time.hh>
#include <weir/io/budget_window.hh>
#include <weir/io/sim/faults.hh>

namespace weir::io::sim {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// A range that times are drawn from.
struct time_range {
    duration low;
    duration high;
};

struct network_options {
    /// One way, drawn once for each ordered pair of hosts.
    time_range latency{microseconds(50), milliseconds(2)};
    time_range loopback{microseconds(5), microseconds(30)};
    /// Added to each segment.
    time_range jitter{microseconds(0), microseconds(50)};
    /// Bytes on the way or unread at the peer, a direction of a connection; then sends wait.
    std::uint32_t window = 64 * 1024;
    /// A connect without an answer fails with ETIMEDOUT.
    duration connect_timeout = seconds(3);
    /// First retransmission; doubles each time.
    duration retransmit = milliseconds(200);
    /// A connection whose data is not acknowledged for so long fails with ETIMEDOUT.
    duration give_up = seconds(15);
    std::uint32_t descriptors = 1024;  ///< of a host, files too; then EMFILE
};

struct disk_options {
    std::uint64_t capacity = 0;            ///< bytes; 0: no limit
    std::uint32_t offset_alignment = 512;  ///< of O_DIRECT, offset and length: 512 or 4096
    std::uint32_t memory_alignment = 512;  ///< of O_DIRECT
    bool has_direct = true;                ///< else opening with O_DIRECT fails with EINVAL
    bool has_allocate = true;              ///< else fallocate fails with EOPNOTSUPP
    time_range read{microseconds(40), microseconds(200)};
    time_range buffered{microseconds(3), microseconds(40)};  ///< through the cache; names too
    time_range write{microseconds(40), microseconds(300)};   ///< O_DIRECT or data_sync
    time_range sync{microseconds(200), milliseconds(3)};
    duration per_mebibyte = milliseconds(1);
    /// Reads and writes that the device works on at once; further ones wait in it. 0: no limit.
    std::uint32_t channels = 0;
};

/// What a shard's backend lends and holds.
struct backend_options {
    std::uint32_t buffers = 32;  ///< that receive lends; then ENOBUFS
    std::uint32_t buffer_size = 8192;
    std::uint32_t operations = 256;  ///< in flight; the rest waits in line
    budget_options budget{};
};

struct schedule_options {
    time_range turn_cost{duration(200), microseconds(3)};
    time_range slice_cost{duration(300), microseconds(20)};  ///< between looks at the clock
    time_range wake{microseconds(1), microseconds(40)};
    time_range pause{milliseconds(1), milliseconds(300)};
    unsigned looks_before_preempt = 6;   ///< a slice lasts 1 to this many, and
    duration quota = microseconds(500);  ///< at most so long and one task
    bool shuffles = true;                ///< ready tasks run in random order
    /// Where a turn publishes, rings or wakes, the host's other shards first take the turns that
    /// were due by then. One in so many times the turn is held up there, and they take those of
    /// that time, too. 0: each turn is alone.
    unsigned held_up_one_in = 4;
    time_range held_up{microseconds(0), microseconds(60)};
    /// Monotonic clocks of hosts start up to so far apart, and run up to so much too fast or slow.
    duration clock_offset = seconds(1000);
    std::uint32_t clock_drift_parts_per_million = 50;
};

struct world_options {
    network_options network{};
    disk_options disk{};
    backend_options backend{};
    schedule_options schedule{};
    fault_plan faults = fault_plan::none();
    /// Between occasions for partitions, clogs, cuts, kills and clock steps.
    duration nemesis_period = seconds(1);
    time_range outage{milliseconds(10), seconds(5)};  ///< of a partition, a clog, a cut
    wall_clock_ms wall_start = 1'750'000'000'000;
};

}  // namespace weir::io::sim
