// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

#include <weir/core/future.hh>
#include <weir/core/host.hh>
#include <weir/io/sim/replay.hh>

namespace weir::test {

using program = std::function<future<>(host&)>;

/// Runs `body` as the program of a host of `shards` shards on the simulator, with `seeds` seeds:
/// a failure prints its seed. Streams are late and cut anyhow, sends are short, shards stall.
void on_simulator(const program& body, unsigned shards = 1, std::uint64_t seeds = 12);
/// Runs it on the real kernel.
void on_kernel(const program& body, unsigned shards = 1);
void on_both(const program& body, unsigned shards = 1);

/// A world's options with the harm that a stream may do to a correct program.
io::sim::world_options rough_world(std::uint64_t seed);

}  // namespace weir::test
