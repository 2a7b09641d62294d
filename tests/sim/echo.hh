// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <netinet/in.h>

#include <weir/core/future.hh>
#include <weir/core/host.hh>
#include <weir/io/op.hh>

/// The smallest service that crosses every seam: a server and a client whose bytes pass through
/// sockets and, on both sides, through the rings between shards. It knows no backend.
namespace weir::test {

struct echo_options {
    sockaddr_storage server{};  ///< where it listens; the port is not 0
    socklen_t server_length = sizeof(sockaddr_in);
    unsigned client_shards = 2;
    unsigned connections = 3;  ///< of each shard of the client
    unsigned messages = 20;    ///< of each connection, one after the other
    std::uint32_t largest_message = 20'000;
    duration pause = std::chrono::microseconds(300);  ///< between messages
};

struct echo_totals {
    std::uint64_t connections = 0;
    std::uint64_t bytes = 0;
    std::uint64_t hops = 0;  ///< calls to another shard
    friend bool operator==(const echo_totals&, const echo_totals&) = default;
};

/// Listens on every shard; sends each byte back changed, by a call to the next shard. Ends when
/// all connections of the client have ended.
future<echo_totals> echo_server(host& owner, echo_options options);
/// fails    with errc::corrupt if an answer is not what was sent, changed
future<echo_totals> echo_client(host& owner, echo_options options);

}  // namespace weir::test
