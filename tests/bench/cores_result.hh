// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <weir/core/topology.hh>

namespace weir::bench {

/// What two cpus do to each other; medians over the passes.
struct pair_result {
    unsigned a = 0;
    unsigned b = 0;
    double round_trip_ns = 0;   ///< a message through a ring and its answer through another
    double bare_ns = 0;         ///< the same through two bare cache lines: the hardware's floor
    double forward_per_s = 0;   ///< messages from a to b
    double backward_per_s = 0;  ///< messages from b to a
};

/// What the cpus of one node see of the memory of another; nodes by place.
struct memory_result {
    unsigned from = 0;
    unsigned to = 0;
    double latency_ns = 0;          ///< one dependent load
    double one_core_MB_per_s = 0;   ///< reading, one thread
    double all_cores_MB_per_s = 0;  ///< reading, a thread on every core of the node
};

struct cores_result {
    std::string machine;  ///< what was measured, for the title
    weir::topology map;
    std::vector<unsigned> cpus;  ///< those that were measured, in the machine's order
    std::vector<pair_result> pairs;
    std::vector<memory_result> memory;
    std::vector<std::string> notes;
};

/// What a pair of cpus has in common. Greater ranks are expected to be slower.
struct pair_group {
    unsigned rank = 0;
    std::string name;      ///< "shared L3"
    std::string row_name;  ///< "shared_l3"
};
pair_group group_of(const weir::topology& map, unsigned a, unsigned b);

struct spread {
    double median = 0;
    double low = 0;
    double high = 0;
};
spread spread_of(std::vector<double> values);

/// All pairs that have the same in common.
struct group_summary {
    pair_group group;
    std::vector<const pair_result*> pairs;
    spread round_trip_ns;
    spread bare_ns;
    spread per_s;  ///< both directions
};

/// returns  the groups that occur, the nearest first; points into the result
std::vector<group_summary> summarize(const cores_result& result);

/// Compares the measured order of the groups with the expected one. A tenth is no difference.
/// returns  one sentence per contradiction, none if all is as expected
std::vector<std::string> surprises(const std::vector<group_summary>& groups);

/// Names each cpu and what it belongs to, the groups, and up to 16 cpus' matrix of round trips.
std::string cores_table(const cores_result& result);

/// Draws heat maps of round trips and rates, the groups side by side, and the memory matrices.
std::string cores_svg(const cores_result& result);

/// returns  "512", "1.2k", "34M": three digits at most
std::string short_number(double value);

}  // namespace weir::bench
