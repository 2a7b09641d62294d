// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/io/sim/replay.hh>
#include <weir/net/connection.hh>
#include <weir/net/server.hh>

namespace weir::net::test {

using program = std::function<future<>(host&)>;

/// Runs `body` as the program of a host of `shards` shards on the simulator, with `seeds` seeds:
/// a failure prints its seed. Streams are late and cut anyhow, sends are short, shards stall.
void on_simulator(const program& body, unsigned shards = 1, std::uint64_t seeds = 12);
/// Runs it on the real kernel.
void on_kernel(const program& body, unsigned shards = 1);
void on_both(const program& body, unsigned shards = 1);

/// A world's options with the harm that a stream may do to a correct program.
io::sim::world_options rough_world(std::uint64_t seed);

/// Bytes that tell where they are.
std::vector<std::byte> pattern(std::size_t size, std::uint32_t seed = 1);
std::span<const std::byte> bytes_of(std::string_view text);
std::string_view text_of(std::span<const std::byte> bytes);

/// What comes until `size` bytes are there or the peer ends.
future<std::vector<std::byte>> receive_exactly(connection& from, std::size_t size);
future<std::string> receive_to_end(connection& from);

/// A server's handler: sends back what it receives, and ends when the peer does.
future<> echo(connection& peer);

}  // namespace weir::net::test
