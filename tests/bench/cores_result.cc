// SPDX-License-Identifier: Apache-2.0
#include <bench/cores_result.hh>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include <fmt/format.h>

namespace weir::bench {

namespace {

constexpr unsigned same_node_rank = 10;
constexpr unsigned other_node_rank = 100;  // plus the distance
constexpr double no_difference = 1.1;
constexpr std::size_t widest_matrix = 16;

void append_machine(std::string& out, const cores_result& result) {
    fmt::format_to(std::back_inserter(out), "{}\n", result.machine);
    for (std::size_t node = 0; node < result.map.nodes.size(); ++node) {
        const weir::topology::node& each = result.map.nodes[node];
        std::size_t cores = 0;
        for (const weir::topology::core& core : result.map.cores) {
            cores += core.node == node ? 1 : 0;
        }
        fmt::format_to(std::back_inserter(out), "node {}: {} cores, cpus {}, {:.1f} GiB, distances",
                       each.number, cores, weir::to_cpu_list(each.cpus),
                       static_cast<double>(each.memory_bytes) / (1 << 30));
        for (const unsigned distance : each.distances) {
            fmt::format_to(std::back_inserter(out), " {}", distance);
        }
        out += result.map.distances_known ? "\n" : " (guessed)\n";
    }
}

void append_groups(std::string& out, const std::vector<group_summary>& groups, bool synthetic) {
    fmt::format_to(std::back_inserter(out), "\n{:<24} {:>6} {:>24} {:>10} {:>8} {:>26}\n",
                   "cpus share", "pairs", "round trip ns (min-max)", "bare lines", "ratio",
                   "messages/s (min-max)");
    for (const group_summary& each : groups) {
        fmt::format_to(std::back_inserter(out), "{:<24} {:>6} {:>24} {:>10} {:>8} {:>26}\n",
                       each.group.name, each.pairs.size(),
                       fmt::format("{:.0f} ({:.0f}-{:.0f})", each.round_trip_ns.median,
                                   each.round_trip_ns.low, each.round_trip_ns.high),
                       each.bare_ns.median > 0 ? fmt::format("{:.0f}", each.bare_ns.median) : "-",
                       each.bare_ns.median > 0
                           ? fmt::format("{:.2f}", each.round_trip_ns.median / each.bare_ns.median)
                           : "-",
                       fmt::format("{} ({}-{})", short_number(each.per_s.median),
                                   short_number(each.per_s.low), short_number(each.per_s.high)));
    }
    if (synthetic) {
        return;  // the threads ran elsewhere
    }
    const std::vector<std::string> contradictions = surprises(groups);
    if (contradictions.empty() && groups.size() > 1) {
        out += "Order as the topology lets expect.\n";
    }
    for (const std::string& each : contradictions) {
        out += each + "\n";
    }
}

void append_matrix(std::string& out, const cores_result& result) {
    if (result.cpus.size() > widest_matrix || result.pairs.empty()) {
        return;
    }
    std::map<std::pair<unsigned, unsigned>, double> cells;
    for (const pair_result& each : result.pairs) {
        cells[{each.a, each.b}] = cells[{each.b, each.a}] = each.round_trip_ns;
    }
    out += "\nround trip, ns\n cpu";
    for (const unsigned cpu : result.cpus) {
        fmt::format_to(std::back_inserter(out), " {:>6}", cpu);
    }
    for (const unsigned a : result.cpus) {
        fmt::format_to(std::back_inserter(out), "\n{:>4}", a);
        for (const unsigned b : result.cpus) {
            const auto cell = cells.find({a, b});
            fmt::format_to(std::back_inserter(out), " {:>6}",
                           cell == cells.end() ? "." : fmt::format("{:.0f}", cell->second));
        }
    }
    out += '\n';
}

void append_memory(std::string& out, const cores_result& result) {
    if (result.memory.empty()) {
        return;
    }
    fmt::format_to(std::back_inserter(out), "\n{:<24} {:>9} {:>11} {:>16} {:>17}\n",
                   "memory, from to node", "distance", "latency ns", "one core MB/s",
                   "all cores MB/s");
    for (const memory_result& each : result.memory) {
        const weir::topology::node& from = result.map.nodes[each.from];
        fmt::format_to(std::back_inserter(out), "{:<24} {:>9} {:>11.1f} {:>16.0f} {:>17.0f}\n",
                       fmt::format("{} -> {}", from.number, result.map.nodes[each.to].number),
                       from.distances[each.to], each.latency_ns, each.one_core_MB_per_s,
                       each.all_cores_MB_per_s);
    }
}

}  // namespace

pair_group group_of(const weir::topology& map, unsigned a, unsigned b) {
    switch (map.between(a, b)) {
        case weir::proximity::same_cpu:
        case weir::proximity::smt_sibling:
            return {0, "a core (SMT siblings)", "smt_sibling"};
        case weir::proximity::shared_cache: {
            const unsigned level = map.shared_cache_level(a, b);
            return {level, fmt::format("an L{} cache", level), fmt::format("shared_l{}", level)};
        }
        case weir::proximity::same_node:
            return {same_node_rank, "a node", "same_node"};
        case weir::proximity::other_node:
            break;
    }
    const unsigned distance =
        map.nodes[map.cores[map.core_of(a)].node].distances[map.cores[map.core_of(b)].node];
    return {other_node_rank + distance, fmt::format("nothing (distance {})", distance),
            fmt::format("distance_{}", distance)};
}

spread spread_of(std::vector<double> values) {
    if (values.empty()) {
        return {};
    }
    std::sort(values.begin(), values.end());
    const std::size_t middle = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
    return {median, values.front(), values.back()};
}

std::vector<group_summary> summarize(const cores_result& result) {
    std::map<unsigned, group_summary> by_rank;
    for (const pair_result& each : result.pairs) {
        const pair_group group = group_of(result.map, each.a, each.b);
        group_summary& summary = by_rank[group.rank];
        summary.group = group;
        summary.pairs.push_back(&each);
    }
    std::vector<group_summary> groups;
    for (auto& [rank, summary] : by_rank) {
        std::vector<double> round_trips;
        std::vector<double> bare;
        std::vector<double> rates;
        for (const pair_result* each : summary.pairs) {
            round_trips.push_back(each->round_trip_ns);
            bare.push_back(each->bare_ns);
            rates.push_back(each->forward_per_s);
            rates.push_back(each->backward_per_s);
        }
        summary.round_trip_ns = spread_of(std::move(round_trips));
        summary.bare_ns = spread_of(std::move(bare));
        summary.per_s = spread_of(std::move(rates));
        groups.push_back(std::move(summary));
    }
    return groups;
}

std::vector<std::string> surprises(const std::vector<group_summary>& groups) {
    std::vector<std::string> found;
    for (std::size_t near = 0; near < groups.size(); ++near) {
        for (std::size_t far = near + 1; far < groups.size(); ++far) {
            const double slower = groups[near].round_trip_ns.median;
            const double faster = groups[far].round_trip_ns.median;
            if (slower > faster * no_difference) {
                found.push_back(fmt::format(
                    "Not as expected: cpus that share {} ({:.0f} ns) are slower than those that "
                    "share {} ({:.0f} ns).",
                    groups[near].group.name, slower, groups[far].group.name, faster));
            }
        }
    }
    return found;
}

std::string short_number(double value) {
    constexpr const char* suffixes[] = {"", "k", "M", "G", "T"};
    std::size_t suffix = 0;
    while (std::abs(value) >= 999.5 && suffix + 1 < std::size(suffixes)) {
        value /= 1000;
        ++suffix;
    }
    const bool fraction = std::abs(value) < 9.95 && (suffix > 0 || value != std::floor(value));
    return fmt::format("{:.{}f}{}", value, fraction ? 1 : 0, suffixes[suffix]);
}

std::string cores_table(const cores_result& result) {
    std::string out;
    append_machine(out, result);
    append_groups(out, summarize(result), result.map.synthetic);
    append_matrix(out, result);
    append_memory(out, result);
    for (const std::string& note : result.notes) {
        out += "\n" + note;
    }
    return out + (result.notes.empty() ? "" : "\n");
}

}  // namespace weir::bench
