// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include <netinet/in.h>

#include <weir/core/time.hh>

namespace weir::io::sim {

class machine;
struct request;
using request_ref = std::shared_ptr<request>;
struct socket;
using socket_ref = std::shared_ptr<socket>;

/// Bytes on their way.
struct segment {
    std::vector<std::byte> bytes;
    bool end = false;  ///< the sender will send no more
    instant arrives;
};

/// One end of a connection, or a listener. network.cc moves it.
struct socket : std::enable_shared_from_this<socket> {
    machine* home = nullptr;
    std::uint64_t id = 0;
    sockaddr_in local{};
    sockaddr_in remote{};
    unsigned holders = 0;  ///< a descriptor and the operations under way
    bool listening = false;
    bool connected = false;
    bool closed = false;  ///< nobody holds it any more
    bool gone = false;    ///< its kernel has forgotten it: the peer's next segment is answered
                          ///< with a reset
    int error = 0;        ///< to be reported once
    bool failed = false;  ///< reset or timed out; sends fail with EPIPE

    // A listener.
    std::deque<socket_ref> backlog;
    std::size_t backlog_limit = 0;
    std::vector<request_ref> acceptors;

    // Incoming.
    std::weak_ptr<socket> peer;
    machine* peer_home = nullptr;
    std::vector<std::byte> incoming;
    std::size_t incoming_taken = 0;
    bool incoming_end = false;
    std::uint64_t received = 0;  ///< bytes that arrived, ends included
    std::uint64_t consumed = 0;  ///< of those, taken by the program
    bool acknowledging = false;
    std::deque<request_ref> receivers;

    // Outgoing.
    std::deque<segment> flying;
    instant last_arrival{};
    std::uint64_t sent = 0;
    std::uint64_t acknowledged = 0;  ///< by the peer's kernel
    std::uint64_t freed = 0;         ///< taken by the peer's program, as far as known
    bool end_sent = false;
    bool pumping = false;
    instant blocked_since = never;
    unsigned retries = 0;
    std::deque<request_ref> senders;
    struct zero_copy_wait {
        std::uint64_t until;
        request_ref waiting;
        std::int32_t result;
    };
    std::vector<zero_copy_wait> zero_copies;

    std::size_t unread() const noexcept { return incoming.size() - incoming_taken; }
};

}  // namespace weir::io::sim
