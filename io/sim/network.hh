// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include <weir/io/op.hh>
#include <weir/io/sim/engine.hh>
#include <weir/io/sim/socket.hh>

namespace weir::io::sim {

/// The network between all hosts of a world: byte streams as TCP makes them. What was sent
/// arrives in order, cut anew, after the latency of the pair; a partition holds it back until it
/// heals or the sender gives up; a dead host is silent, and answers with resets once it is back.
class network {
  public:
    explicit network(engine& shared) noexcept : _engine(shared) {}

    void add(machine& added);

    // Operations: each answers its request, now or later.
    void listen(const request_ref& asked, machine& home);
    void connect(const request_ref& asked, machine& home);
    void accept(const request_ref& asked);
    void receive(const request_ref& asked);
    void send(const request_ref& asked);
    void shutdown(const request_ref& asked);
    void name(const request_ref& asked);
    /// Takes a request out of the line it waits in.
    /// returns  whether it waited
    bool cancel(const request_ref& asked);

    /// Ends a connection at once: whatever waits on it fails, and the peer is told.
    void reset(const socket_ref& broken);
    /// A descriptor or operation lets go; the last one closes.
    void let_go(const socket_ref& held);
    /// All sockets of a host vanish: silently at a power cut, with resets and ends at a kill.
    void host_down(machine& gone, bool power_cut);

    /// Whether nothing gets from one host to the other.
    bool blocked(const machine& from, const machine& to) const;
    void block(const machine& from, const machine& to, bool on);
    /// Holds back what `from` sends to `to` for a while.
    void clog(const machine& from, const machine& to, duration length);
    void heal_all();
    /// A port that some other program of the host has taken: listen fails with EADDRINUSE.
    void occupy(const machine& home, std::uint16_t port);

  private:
    struct link {
        duration latency{};
        unsigned blocked = 0;
        instant clogged_until{};
    };
    using pair = std::pair<std::uint32_t, std::uint32_t>;

    link& between(const machine& from, const machine& to);
    instant arrival(const machine& from, const machine& to);
    socket_ref make(machine& home);
    std::vector<socket_ref> listeners(machine& home, const sockaddr_in& address) const;
    static bool overlaps(const machine& home, const sockaddr_in& address);
    machine* find(machine& from, const sockaddr_in& address) const;

    struct handshake {
        socket_ref client;
        socket_ref server;
        socket_ref listener;
        request_ref asked;
        instant deadline;
    };
    void knock(handshake step);
    void retry_knock(handshake step);
    void answer_knock(handshake step);
    void refuse(const handshake& step);
    void establish(const handshake& step);

    bool try_send(const socket_ref& from, const request_ref& asked);
    void cut_into_segments(socket& from, const op::send& what, std::uint64_t count);
    void send_end(const socket_ref& from);
    void send_reset(const socket_ref& from);
    void pump(const socket_ref& from);
    void arrive(const socket_ref& from);
    void deliver(const socket_ref& from, const socket_ref& to);
    void retry(const socket_ref& from);
    void acknowledge(const socket_ref& receiver);
    void acknowledged(const socket_ref& receiver, const socket_ref& sender);
    void feed(const socket_ref& to);
    bool feed_one(const socket_ref& to, const request_ref& asked);
    std::size_t take(socket& from, std::byte* into, std::size_t limit);
    void feed_acceptors(const socket_ref& listener);
    void fail(const socket_ref& broken, int error);
    void close(const socket_ref& closed);
    void forget(const socket_ref& gone);

    engine& _engine;
    std::vector<machine*> _machines;
    std::map<pair, link> _links;
    std::map<std::pair<std::uint32_t, std::uint16_t>, bool> _occupied;
    std::uint64_t _next_id = 1;
};

}  // namespace weir::io::sim
