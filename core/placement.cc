// SPDX-License-Identifier: Apache-2.0
#include <weir/core/placement.hh>

#include <algorithm>
#include <numeric>
#include <tuple>

#include <weir/core/error.hh>

namespace weir {

namespace {

[[noreturn]] void refuse(const std::string& subject, errc cause) {
    throw error("place", subject, cause);
}

std::string count_of(std::size_t count, const char* thing) {
    return std::to_string(count) + " " + thing + (count == 1 ? "" : "s");
}

// returns  places of the cores, those of one node together
std::vector<unsigned> cores_by_node(const topology& machine) {
    std::vector<unsigned> order(machine.cores.size());
    std::iota(order.begin(), order.end(), 0U);
    std::sort(order.begin(), order.end(), [&](unsigned a, unsigned b) {
        const unsigned node_a = machine.cores[a].node;
        const unsigned node_b = machine.cores[b].node;
        return node_a != node_b ? node_a < node_b : a < b;
    });
    return order;
}

// returns  the cpus that may carry shards, the best first
std::vector<unsigned> candidates(const topology& machine, bool use_smt) {
    std::vector<unsigned> result;
    const std::vector<unsigned> order = cores_by_node(machine);
    for (std::size_t sibling = 0, added = 1; added > 0; ++sibling) {
        added = 0;
        for (const unsigned core : order) {
            const std::vector<unsigned>& cpus = machine.cores[core].cpus;
            if (sibling < cpus.size() && (sibling == 0 || use_smt)) {
                result.push_back(cpus[sibling]);
                ++added;
            }
        }
    }
    return result;
}

void check_explicit(const topology& machine, const std::vector<unsigned>& cpus) {
    for (std::size_t i = 0; i < cpus.size(); ++i) {
        if (!machine.contains(cpus[i])) {
            refuse("shards on cpu " + std::to_string(cpus[i]) + "; this process may use cpus " +
                       to_cpu_list(machine.cpus()),
                   errc::malformed);
        }
        if (std::find(cpus.begin(), cpus.begin() + static_cast<std::ptrdiff_t>(i), cpus[i]) !=
            cpus.begin() + static_cast<std::ptrdiff_t>(i)) {
            refuse("shards on cpu " + std::to_string(cpus[i]) + " twice", errc::malformed);
        }
    }
}

[[noreturn]] void refuse_too_many(const topology& machine, const placement_options& options,
                                  std::size_t usable) {
    const std::vector<unsigned> cpus = machine.cpus();
    std::string subject = count_of(*options.shards, "shard") + " on " +
                          (!options.cpus.empty() || options.use_smt ? count_of(usable, "cpu")
                                                                    : count_of(usable, "core")) +
                          " (cpus " + to_cpu_list(options.cpus.empty() ? cpus : options.cpus) +
                          "); ask for at most " + std::to_string(usable);
    if (options.cpus.empty() && !options.use_smt && cpus.size() > usable) {
        subject += ", use SMT siblings for up to " + std::to_string(cpus.size());
    }
    refuse(subject + ", or allow overcommit", errc::limit_exceeded);
}

}  // namespace

std::vector<shard_place> place(const topology& machine, const placement_options& options) {
    check_explicit(machine, options.cpus);
    const bool chosen = !options.cpus.empty();
    const std::vector<unsigned> usable =
        chosen ? options.cpus : candidates(machine, options.use_smt);
    std::size_t count = usable.size();
    if (options.shards) {
        count = *options.shards;
    } else if (!chosen && options.quota_cpus) {
        const auto quota = static_cast<std::size_t>(std::max(1.0, *options.quota_cpus));
        count = std::min(count, quota);
    }
    if (count == 0) {
        refuse("0 shards; ask for at least 1", errc::malformed);
    }
    if (count > usable.size() && !options.allow_overcommit) {
        refuse_too_many(machine, options, usable.size());
    }
    std::vector<shard_place> result;
    result.reserve(count);
    for (std::size_t shard = 0; shard < count; ++shard) {
        const unsigned cpu = usable[shard % usable.size()];
        const unsigned core = machine.core_of(cpu);
        result.push_back({cpu, core, machine.cores[core].node});
    }
    if (!chosen) {
        std::sort(result.begin(), result.end(), [](const shard_place& a, const shard_place& b) {
            return std::tie(a.node, a.core, a.cpu) < std::tie(b.node, b.core, b.cpu);
        });
    }
    return result;
}

}  // namespace weir
