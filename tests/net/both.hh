// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <tests/support/both.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/io/sim/replay.hh>
#include <weir/net/connection.hh>
#include <weir/net/server.hh>

namespace weir::net::test {

using weir::test::on_both;
using weir::test::on_kernel;
using weir::test::on_simulator;
using weir::test::program;
using weir::test::rough_world;

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
