// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <bench/cores_result.hh>

namespace weir::bench {

/// The cpus that carry the threads of a pair.
struct cpu_pair {
    unsigned a = 0;
    unsigned b = 0;
};

/// One pass over one pair: round trips, then messages from a to b, then from b to a.
/// at           where the threads really run; one and the same cpu works, by yielding
/// duration_ns  of each of the three
/// returns      figures only; the names of the cpus and bare_ns are the caller's
pair_result measure_pair(cpu_pair at, std::int64_t duration_ns);

/// Memory of one node, filled with a random cycle of pointers, one a cache line.
class memory_block {
  public:
    /// bytes   of memory
    /// cpu     whose thread touches it first, so that it lies on that cpu's node
    /// number  the node's number, for memory without cpus; negative: first touch decides
    memory_block(std::size_t bytes, unsigned cpu, int number);
    ~memory_block();
    memory_block(const memory_block&) = delete;
    memory_block& operator=(const memory_block&) = delete;

    /// returns  nanoseconds of one dependent load by a thread on that cpu
    double latency_ns(unsigned cpu, std::int64_t duration_ns) const;
    /// returns  MB/s read by one thread on each of the cpus together
    double read_megabytes_per_s(const std::vector<unsigned>& cpus, std::int64_t duration_ns) const;

  private:
    std::size_t _bytes;
    void* _memory;
};

}  // namespace weir::bench
