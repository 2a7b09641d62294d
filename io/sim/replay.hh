// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <weir/io/sim/world.hh>

namespace weir::io::sim {

/// A test of a whole world. It fails by throwing.
using scenario = std::function<void(world&)>;
/// The options of the world of a seed, for instance with fault_plan::swarm(seed).
using options_of_seed = std::function<world_options(std::uint64_t seed)>;

/// Runs the scenario in a world of its own.
/// returns  the hash over all its events
std::uint64_t run_once(std::uint64_t seed, const world_options& options, const scenario& test,
                       std::string* report = nullptr);

/// Runs the scenario twice, the second time with another address layout and heap fill.
/// returns  nothing if the two runs are the same, else the first event that differs in each
std::string compare_runs(std::uint64_t seed, const world_options& options, const scenario& test);

/// What exploring seeds came to.
struct exploration {
    std::uint64_t seeds = 0;
    std::uint64_t events = 0;
    duration simulated{};
    fault_injector faults{fault_plan::none(), {0, 0, nullptr}};

    /// For people: how much was simulated, and how many faults of each kind really struck.
    std::string report() const;
};

/// Runs the scenario with `count` seeds from `first` on, each twice when `twice`. A failure
/// prints the seed, what struck and how to run it again, and passes on. The environment wins:
/// WEIR_SIM_SEED=n runs that one seed, WEIR_SIM_FIRST and WEIR_SIM_SEEDS others.
/// fails    with what the scenario throws; std::runtime_error if two runs differ
exploration explore(std::uint64_t first, std::uint64_t count, const options_of_seed& options,
                    const scenario& test, bool twice = false);

}  // namespace weir::io::sim
