// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

#include <sim/broker_oracle.hh>

#include <weir/io/sim/replay.hh>

namespace weir::broker::sim_test {

/// The harm of a seed: each fault is on or off; the disk keeps what it said it keeps.
io::sim::world_options rough(std::uint64_t seed);
/// No faults but the power cuts and kills that the scenario orders itself.
io::sim::world_options cuts_only(std::uint64_t seed);

/// A broker of two shards, producers, a consumer and an auditor, each on a host of its own. For a
/// while the broker is cut, killed, stopped and started again while the world does its harm; then
/// everything heals, and all that was acknowledged must be read.
/// canaries  deliberate bugs of the broker
/// fails    std::runtime_error that says which promise was broken
io::sim::scenario broker_scenario(statistics& counts,
                                  std::unordered_set<std::string> canaries = {});

}  // namespace weir::broker::sim_test
