// SPDX-License-Identifier: Apache-2.0
// The broker's scenario over fresh seeds, for as long as it may take:
//     sim_seeds [--seconds N] [--first SEED]
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <sim/broker_scenario.hh>

namespace sim = weir::io::sim;
using namespace weir::broker::sim_test;

namespace {

constexpr std::uint64_t twice_every = 20;  // one of so many seeds is run again elsewhere in memory

struct failure {
    std::uint64_t seed;
    std::string what;
};

std::uint64_t argument(int count, char** values, std::string_view name, std::uint64_t otherwise) {
    for (int i = 1; i + 1 < count; ++i) {
        if (values[i] == name) {
            return std::strtoull(values[i + 1], nullptr, 10);
        }
    }
    return otherwise;
}

void add(sim::exploration& to, const sim::exploration& one) {
    to.seeds += one.seeds;
    to.events += one.events;
    to.simulated += one.simulated;
    to.faults.add(one.faults);
}

}  // namespace

int main(int count, char** values) {
    const std::time_t begin = std::time(nullptr);
    const auto seconds = static_cast<std::time_t>(argument(count, values, "--seconds", 10));
    // Fresh every time, and readable: a failure names its seed.
    const std::uint64_t first =
        argument(count, values, "--first", static_cast<std::uint64_t>(begin) * 1000);
    statistics counts;
    sim::exploration all;
    std::vector<failure> failures;
    std::uint64_t seed = first;
    do {
        // Every other seed has no faults but ends of the broker: more of them get far.
        const auto options = seed % 2 == 0 ? rough : cuts_only;
        try {
            add(all,
                sim::explore(seed, 1, options, broker_scenario(counts), seed % twice_every == 0));
        } catch (const std::exception& broken) {
            failures.push_back({seed, broken.what()});
        }
        ++seed;
    } while (std::time(nullptr) - begin < seconds);
    fmt::print("seeds {} to {}: {}{}", first, seed - 1, all.report(), describe(counts));
    for (const failure& each : failures) {
        fmt::print("seed {}: {}\n  again: sim_seeds --first {} --seconds 0\n", each.seed, each.what,
                   each.seed);
    }
    fmt::print("{} passed, {} failed\n", all.seeds, failures.size());
    return failures.empty() ? 0 : 1;
}
