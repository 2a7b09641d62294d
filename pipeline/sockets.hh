// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/net/connection.hh>
#include <weir/pipeline/bytes.hh>

// Connections at the ends of pipelines: TCP's window then is the backpressure between hosts.
namespace weir::pipeline {

struct socket_options {
    net::connection_options connection{};
    duration connect_time_max = std::chrono::seconds(10);
    line_options lines{};
};

/// Connects when the pipeline begins, and gives what comes until the peer sends no more. What is
/// received is copied once, out of the memory that all connections of a shard are lent.
source_of<block> socket_blocks(net::address from, socket_options options = {});
source_of<line> socket_lines(net::address from, socket_options options = {});
/// Of a connection that is there, one that was accepted say. It stays its owner's, to be closed
/// after the pipeline was joined; the source must be placed on its shard, which is this one.
source_of<block> socket_blocks(net::connection& from, socket_options options = {});
source_of<line> socket_lines(net::connection& from, socket_options options = {});

/// For lines_to() and blocks_to().
make_writer socket_writer(net::address to, socket_options options = {});
make_writer socket_writer(net::connection& to, socket_options options = {});

/// Sends elements, which are text, as lines; the end of the pipeline is the end of the stream.
/// to   an address to connect to when the pipeline begins, or a connection of the sink's shard
template <typename To>
auto lines_to_socket(To&& to, socket_options options = {}) {
    return lines_to("socket", socket_writer(std::forward<To>(to), options));
}
/// Sends blocks, or other texts, one after the other.
template <typename To>
auto blocks_to_socket(To&& to, socket_options options = {}) {
    return blocks_to("socket", socket_writer(std::forward<To>(to), options));
}

}  // namespace weir::pipeline
