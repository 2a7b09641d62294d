// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include <weir/core/topology.hh>

namespace weir {

struct placement_options {
    /// How many shards; none: one per core (per cpu with use_smt), and no more than the quota.
    std::optional<unsigned> shards{};
    /// The cpus to use, in this order; empty: those of the topology.
    std::vector<unsigned> cpus{};
    /// Lets the second hardware thread of a core carry a shard of its own.
    bool use_smt = false;
    /// Lets several shards share a cpu when there are more shards than cpus.
    bool allow_overcommit = false;
    /// CPUs' worth of time that the cgroup grants (resource_limits::cpus). More spinning shards
    /// than that would be throttled all at once, so it bounds the default number of shards.
    std::optional<double> quota_cpus{};
};

struct shard_place {
    unsigned cpu = 0;
    unsigned core = 0;  ///< place in topology::cores
    unsigned node = 0;  ///< place in topology::nodes
};

/// Chooses the cpu of each shard. Cores fill node by node, each core's first cpu before any
/// sibling; shards are then numbered in the machine's order, so that shard k and k+1 are near.
/// returns  one place per shard
/// fails    weir::error limit_exceeded (more shards than cpus, and no overcommit), malformed (no
///          shard; a cpu that is not in the topology or given twice)
std::vector<shard_place> place(const topology& machine, const placement_options& options);

}  // namespace weir
