// SPDX-License-Identifier: Apache-2.0
// What the cores of this machine are to each other: rings between every pair of cpus, by what
// they share, and memory from each node to each.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

#include <bench/cores_measure.hh>
#include <bench/cores_result.hh>
#include <bench/harness.hh>
#include <fmt/format.h>

#include <weir/core/error.hh>

namespace {

using weir::topology;
using weir::bench::better;

struct options {
    std::string svg;
    std::string synthetic;
    std::string cpus;
    std::string pair_ms = "2";
    std::string memory_mb = "0";
};

// Figures that a synthetic machine's names are put on must not pass for that machine's.
std::string prefix(const topology& map) {
    return map.synthetic ? "cores.synthetic." : "cores.";
}

// The figures of one pair, pass by pass.
struct measured_pair {
    weir::bench::pair_result names;
    std::vector<double> round_trips, bare, forward, backward;
};

std::size_t number_of(const std::string& name, const std::string& text) {
    const bool digits = !text.empty() && text.size() < 7 &&
                        text.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) {
        throw weir::error("read option", name + " " + text, weir::errc::malformed);
    }
    return std::stoul(text);
}

// Where the thread of a cpu runs: there, or on a synthetic machine on one of ours.
class stage {
  public:
    stage(const topology& map, std::vector<unsigned> real) : _map(map), _real(std::move(real)) {}

    weir::bench::cpu_pair of(unsigned a, unsigned b) const {
        if (!_map.synthetic) {
            return {a, b};
        }
        const unsigned first = one(a);
        const unsigned second = one(b);
        return {first, first != second ? second : one(b + 1)};
    }
    unsigned one(unsigned cpu) const { return _map.synthetic ? _real[cpu % _real.size()] : cpu; }

  private:
    const topology& _map;
    std::vector<unsigned> _real;
};

double bare_ns(weir::bench::cpu_pair at, std::int64_t duration_ns) {
    if (at.a == at.b) {
        return 0;  // two spinning threads on one cpu measure the kernel's time slice
    }
    const auto milliseconds = static_cast<int>(std::max<std::int64_t>(1, duration_ns / 1'000'000));
    return weir::bench::two_line_round_trip_ns(static_cast<int>(at.a), static_cast<int>(at.b),
                                               milliseconds);
}

std::vector<measured_pair> measure_pairs(const weir::bench::cores_result& result,
                                         const stage& threads, int passes,
                                         std::int64_t duration_ns) {
    std::vector<measured_pair> pairs;
    for (std::size_t i = 0; i < result.cpus.size(); ++i) {
        for (std::size_t j = i + 1; j < result.cpus.size(); ++j) {
            pairs.push_back({{result.cpus[i], result.cpus[j]}, {}, {}, {}, {}});
        }
    }
    // A pass goes over all pairs before the next one starts: what disturbs the machine for a
    // while disturbs one sample of many pairs, not all samples of one.
    for (int pass = 0; pass < passes; ++pass) {
        for (measured_pair& each : pairs) {
            const weir::bench::cpu_pair at = threads.of(each.names.a, each.names.b);
            const double bare = bare_ns(at, duration_ns);
            const weir::bench::pair_result sample = weir::bench::measure_pair(at, duration_ns);
            each.round_trips.push_back(sample.round_trip_ns);
            each.forward.push_back(sample.forward_per_s);
            each.backward.push_back(sample.backward_per_s);
            if (bare > 0) {
                each.bare.push_back(bare);
            }
        }
    }
    return pairs;
}

// Says so when the machine did other work meanwhile: then even medians mean little.
void note_unrest(weir::bench::cores_result& result, const std::vector<measured_pair>& pairs) {
    constexpr double calm = 3;
    const auto unsteady = std::count_if(pairs.begin(), pairs.end(), [](const measured_pair& each) {
        const weir::bench::spread trips = weir::bench::spread_of(each.round_trips);
        return trips.high > calm * trips.low;
    });
    if (unsteady > 0) {
        result.notes.push_back(
            fmt::format("{} of {} pairs varied by more than {} between passes: this machine was "
                        "not idle, or its "
                        "cpus were moved.",
                        unsteady, pairs.size(), calm));
    }
}

void add_row(weir::bench::report& out, const std::string& name, const char* unit, better direction,
             bool in_table, const std::vector<double>& ours, const std::vector<double>& peer = {}) {
    if (!out.wanted(name)) {
        return;
    }
    weir::bench::row& row = out.add(name, unit, direction, peer.empty() ? "" : "bare lines");
    row.in_table = in_table;
    std::for_each(ours.begin(), ours.end(), [&row](double value) { row.ours(value); });
    std::for_each(peer.begin(), peer.end(), [&row](double value) { row.peer(value); });
}

void add_pair_rows(weir::bench::report& out, const topology& map, const measured_pair& each,
                   bool in_table) {
    const unsigned a = each.names.a;
    const unsigned b = each.names.b;
    const std::string there = fmt::format("{}pair.{}-{}", prefix(map), a, b);
    const std::string back = fmt::format("{}pair.{}-{}", prefix(map), b, a);
    add_row(out, there + ".round_trip", "ns", better::lower, in_table, each.round_trips, each.bare);
    add_row(out, there + ".throughput", "per_s", better::higher, in_table, each.forward);
    add_row(out, back + ".throughput", "per_s", better::higher, in_table, each.backward);
}

void add_group_rows(weir::bench::report& out, const weir::bench::cores_result& result) {
    for (const weir::bench::group_summary& group : weir::bench::summarize(result)) {
        const std::string name = prefix(result.map) + "group." + group.group.row_name;
        std::vector<double> round_trips;
        std::vector<double> bare;
        std::vector<double> rates;
        for (const weir::bench::pair_result* each : group.pairs) {
            round_trips.push_back(each->round_trip_ns);
            rates.insert(rates.end(), {each->forward_per_s, each->backward_per_s});
            if (each->bare_ns > 0) {
                bare.push_back(each->bare_ns);
            }
        }
        add_row(out, name + ".round_trip", "ns", better::lower, true, round_trips, bare);
        add_row(out, name + ".throughput", "per_s", better::higher, true, rates);
    }
}

// returns  the largest cache of the machine that we run on, whichever one is described
std::uint64_t largest_cache(const topology& described) {
    const topology real = described.synthetic ? weir::discover_topology() : described;
    std::uint64_t largest = 0;
    for (const topology::cache& each : real.caches) {
        largest = std::max(largest, each.size_bytes);
    }
    return largest;
}

// returns  one cpu of each core of the node
std::vector<unsigned> cores_of(const topology& map, std::size_t node, const stage& threads) {
    std::vector<unsigned> cpus;
    for (const topology::core& core : map.cores) {
        if (core.node == node) {
            cpus.push_back(threads.one(core.cpus.front()));
        }
    }
    std::sort(cpus.begin(), cpus.end());
    cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
    return cpus;
}

void measure_memory(weir::bench::report& out, weir::bench::cores_result& result,
                    const stage& threads, std::size_t wanted_mb) {
    // Twice the largest cache, so that little of it is met there; but 512 MiB at most.
    const std::uint64_t cache = largest_cache(result.map);
    const std::uint64_t by_cache = std::clamp<std::uint64_t>(2 * cache, 64 << 20, 512 << 20);
    const std::size_t bytes = wanted_mb != 0 ? wanted_mb << 20 : by_cache;
    constexpr std::int64_t duration_ns = 25'000'000;
    const topology& map = result.map;
    const unsigned any = threads.one(result.cpus.front());
    for (unsigned to = 0; to < map.nodes.size(); ++to) {
        const std::vector<unsigned> near = cores_of(map, to, threads);
        const int number = map.synthetic ? -1 : static_cast<int>(map.nodes[to].number);
        const weir::bench::memory_block block(bytes, near.empty() ? any : near.front(), number);
        for (unsigned from = 0; from < map.nodes.size(); ++from) {
            const std::vector<unsigned> readers = cores_of(map, from, threads);
            if (readers.empty()) {
                continue;  // memory without cpus
            }
            const std::string name =
                fmt::format("cores.memory.{}-{}", map.nodes[from].number, map.nodes[to].number);
            std::vector<double> latency;
            std::vector<double> one_core;
            std::vector<double> all_cores;
            for (int pass = 0; pass < out.pairs(); ++pass) {
                latency.push_back(block.latency_ns(readers.front(), duration_ns));
                one_core.push_back(block.read_megabytes_per_s({readers.front()}, duration_ns));
                all_cores.push_back(block.read_megabytes_per_s(readers, duration_ns));
            }
            add_row(out, name + ".latency", "ns", better::lower, true, latency);
            add_row(out, name + ".one_core_read", "MB_per_s", better::higher, true, one_core);
            add_row(out, name + ".all_cores_read", "MB_per_s", better::higher, true, all_cores);
            result.memory.push_back({from, to, weir::bench::median(latency),
                                     weir::bench::median(one_core),
                                     weir::bench::median(all_cores)});
        }
    }
    result.notes.push_back(
        fmt::format("Memory figures are over {} MiB a node; the largest cache is {} MiB.",
                    bytes >> 20, cache >> 20));
}

std::string processor() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        const std::size_t colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            return line.substr(colon + 2) + ": ";
        }
    }
    return {};
}

weir::bench::cores_result describe(const options& chosen, const std::vector<unsigned>& real) {
    weir::bench::cores_result result;
    result.map = chosen.synthetic.empty() ? weir::discover_topology()
                                          : weir::synthetic_topology(chosen.synthetic);
    result.cpus = result.map.cpus();
    if (!chosen.cpus.empty()) {
        const std::vector<unsigned> wanted = weir::parse_cpu_list(chosen.cpus);
        for (const unsigned cpu : wanted) {
            if (!result.map.contains(cpu)) {
                throw weir::error(
                    "measure",
                    fmt::format("cpu {}; the machine has {}", cpu, weir::to_cpu_list(result.cpus)),
                    weir::errc::malformed);
            }
        }
        std::erase_if(result.cpus, [&wanted](unsigned cpu) {
            return std::find(wanted.begin(), wanted.end(), cpu) == wanted.end();
        });
    }
    result.machine = fmt::format("{} cpus, {} cores, {} memory node{}", result.map.cpus().size(),
                                 result.map.cores.size(), result.map.nodes.size(),
                                 result.map.nodes.size() == 1 ? "" : "s");
    if (result.map.synthetic) {
        const std::string source =
            chosen.synthetic.empty() ? "of HWLOC_SYNTHETIC or HWLOC_XMLFILE" : chosen.synthetic;
        result.machine = fmt::format("synthetic machine {}: {}", source, result.machine);
        result.notes.push_back(fmt::format(
            "Names and groups are those of a synthetic machine; the threads ran on cpus {} of this "
            "one: the figures say nothing about that machine.",
            weir::to_cpu_list(real)));
    } else {
        result.machine = processor() + result.machine;
    }
    return result;
}

int measure(weir::bench::report& out, const options& chosen) {
    std::vector<unsigned> real;
    for (const int cpu : weir::bench::allowed_cpus()) {
        real.push_back(static_cast<unsigned>(cpu));
    }
    weir::bench::cores_result result = describe(chosen, real);
    const stage threads(result.map, real);
    const auto duration_ns =
        static_cast<std::int64_t>(number_of("--pair-ms", chosen.pair_ms)) * 1'000'000;
    if (out.wanted(prefix(result.map) + "pair") || out.wanted(prefix(result.map) + "group")) {
        const std::vector<measured_pair> pairs =
            measure_pairs(result, threads, out.pairs(), duration_ns);
        for (const measured_pair& each : pairs) {
            weir::bench::pair_result median = each.names;
            median.round_trip_ns = weir::bench::median(each.round_trips);
            median.bare_ns = each.bare.empty() ? 0 : weir::bench::median(each.bare);
            median.forward_per_s = weir::bench::median(each.forward);
            median.backward_per_s = weir::bench::median(each.backward);
            result.pairs.push_back(median);
        }
        note_unrest(result, pairs);
        add_group_rows(out, result);
        for (const measured_pair& each : pairs) {
            add_pair_rows(out, result.map, each, pairs.size() <= 28);  // the matrix of eight cpus
        }
    }
    if (out.wanted(prefix(result.map) + "memory")) {
        measure_memory(out, result, threads, number_of("--memory-mb", chosen.memory_mb));
    }
    std::fputs((weir::bench::cores_table(result) + "\n").c_str(), stdout);
    if (!chosen.svg.empty()) {
        std::ofstream file(chosen.svg);
        file << weir::bench::cores_svg(result);
        if (!file.flush()) {
            throw weir::error::from_errno("write", chosen.svg, errno);
        }
    }
    for (const std::string& note : result.notes) {
        out.note(note);
    }
    return out.finish();
}

}  // namespace

int main(int argc, char** argv) {
    options chosen;
    weir::bench::report out("cores", "Rings between every pair of cpus, memory between nodes");
    out.option("--svg", chosen.svg, "draw the heat maps into this file");
    out.option("--synthetic", chosen.synthetic,
               "name and group by this machine: \"pack:2 numa:1 core:4 pu:2\", or an lstopo .xml");
    out.option("--cpus", chosen.cpus, "measure only these, as 0-3,8");
    out.option("--pair-ms", chosen.pair_ms, "milliseconds of each of a pair's three figures");
    out.option("--memory-mb", chosen.memory_mb, "MiB to measure a node's memory with; 0: by cache");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    try {
        return measure(out, chosen);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "bench_cores: %s\n", failure.what());
        return 1;
    }
}
