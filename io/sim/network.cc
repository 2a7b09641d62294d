// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/network.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <weir/io/sim/machine.hh>

namespace weir::io::sim {

namespace {

constexpr std::uint32_t loopback_network = 127;

bool read_address(const sockaddr_storage& from, socklen_t length, sockaddr_in& to) noexcept {
    if (from.ss_family != AF_INET || length < sizeof(sockaddr_in)) {
        return false;
    }
    std::memcpy(&to, &from, sizeof(to));
    return true;
}

// Something an operation held may be gone with its host.
bool alive(const request_ref& asked) noexcept {
    return asked->work != nullptr && !asked->answered;
}

}  // namespace

void network::add(machine& added) {
    _machines.push_back(&added);
    for (machine* other : _machines) {
        const time_range range =
            other == &added ? _engine.options.network.loopback : _engine.options.network.latency;
        _links[{added.id(), other->id()}].latency = _engine.traffic.between(range.low, range.high);
        _links[{other->id(), added.id()}].latency = _engine.traffic.between(range.low, range.high);
    }
}

network::link& network::between(const machine& from, const machine& to) {
    return _links[{from.id(), to.id()}];
}

bool network::blocked(const machine& from, const machine& to) const {
    return !to.powered() || !from.powered() || _links.at({from.id(), to.id()}).blocked != 0;
}

void network::block(const machine& from, const machine& to, bool on) {
    link& path = between(from, to);
    path.blocked = on ? path.blocked + 1 : path.blocked - (path.blocked > 0);
}

void network::clog(const machine& from, const machine& to, duration length) {
    link& path = between(from, to);
    path.clogged_until = std::max(path.clogged_until, _engine.now() + length);
}

void network::heal_all() {
    for (auto& [ends, path] : _links) {
        path.blocked = 0;
        path.clogged_until = _engine.now();
    }
}

void network::occupy(const machine& home, std::uint16_t port) {
    _occupied[{home.id(), port}] = true;
}

// When something sent now gets there.
instant network::arrival(const machine& from, const machine& to) {
    const link& path = between(from, to);
    const time_range jitter = _engine.options.network.jitter;
    duration time = path.latency + _engine.traffic.between(jitter.low, jitter.high);
    if (_engine.faults.strikes(fault::slow_segment)) {
        time *= 100;
    }
    return std::max(_engine.now() + time, path.clogged_until + path.latency);
}

socket_ref network::make(machine& home) {
    auto made = std::make_shared<socket>();
    made->home = &home;
    made->id = _next_id++;
    made->local.sin_family = AF_INET;
    home.sockets()[made->id] = made;
    return made;
}

machine* network::find(machine& from, const sockaddr_in& address) const {
    const std::uint32_t wanted = ntohl(address.sin_addr.s_addr);
    if (wanted >> 24 == loopback_network || wanted == INADDR_ANY) {
        return &from;
    }
    for (machine* candidate : _machines) {
        if (candidate->address() == wanted) {
            return candidate;
        }
    }
    return nullptr;
}

void network::listen(const request_ref& asked, machine& home) {
    const auto& what = std::get<op::listen>(asked->work->what);
    sockaddr_in address{};
    if (!read_address(*what.address, what.address_length, address)) {
        asked->owner->answer(asked, -EAFNOSUPPORT);
        return;
    }
    const std::uint32_t wanted = ntohl(address.sin_addr.s_addr);
    if (wanted != INADDR_ANY && wanted >> 24 != loopback_network && wanted != home.address()) {
        asked->owner->answer(asked, -EADDRNOTAVAIL);
        return;
    }
    if (address.sin_port == 0) {
        address.sin_port = htons(home.ephemeral_port());
        std::memcpy(what.address, &address, sizeof(address));
    }
    if (_occupied.contains({home.id(), ntohs(address.sin_port)}) || overlaps(home, address)) {
        asked->owner->answer(asked, -EADDRINUSE);
        return;
    }
    if (const int refused = home.refuses_descriptor(); refused != 0) {
        asked->owner->answer(asked, refused);
        return;
    }
    const socket_ref made = make(home);
    made->local = address;
    made->listening = true;
    made->backlog_limit = static_cast<std::size_t>(std::max(what.backlog, 1));
    const int fd = home.add({nullptr, made});
    if (fd < 0) {
        forget(made);
    }
    asked->owner->answer(asked, fd);
}

/// Whether the host listens on the port already, on another address that takes in this one or that
/// this one takes in. On the same address its listeners share.
bool network::overlaps(const machine& home, const sockaddr_in& address) {
    const std::uint32_t wanted = address.sin_addr.s_addr;
    return std::ranges::any_of(home.sockets(), [&](const auto& entry) {
        const socket& other = *entry.second;
        const std::uint32_t taken = other.local.sin_addr.s_addr;
        return other.listening && !other.closed && other.local.sin_port == address.sin_port &&
               taken != wanted && (taken == htonl(INADDR_ANY) || wanted == htonl(INADDR_ANY));
    });
}

std::vector<socket_ref> network::listeners(machine& home, const sockaddr_in& address) const {
    std::vector<socket_ref> result;
    for (const auto& [id, candidate] : home.sockets()) {
        if (candidate->listening && !candidate->closed &&
            candidate->local.sin_port == address.sin_port &&
            (candidate->local.sin_addr.s_addr == htonl(INADDR_ANY) ||
             candidate->local.sin_addr.s_addr == address.sin_addr.s_addr)) {
            result.push_back(candidate);
        }
    }
    return result;
}

void network::connect(const request_ref& asked, machine& home) {
    const auto& what = std::get<op::connect>(asked->work->what);
    sockaddr_in address{};
    if (!read_address(*what.address, what.address_length, address)) {
        asked->owner->answer(asked, -EAFNOSUPPORT);
        return;
    }
    machine* target = find(home, address);
    if (target == nullptr) {
        asked->owner->answer(asked, -EHOSTUNREACH);
        return;
    }
    if (const int refused = home.refuses_descriptor(); refused != 0) {
        asked->owner->answer(asked, refused);
        return;
    }
    const socket_ref client = make(home);
    client->local.sin_addr.s_addr =
        target == &home ? address.sin_addr.s_addr : htonl(home.address());
    client->local.sin_port = htons(home.ephemeral_port());
    client->remote = address;
    client->peer_home = target;
    asked->at = client;
    ++client->holders;
    handshake step{client, nullptr, nullptr, asked,
                   _engine.now() + _engine.options.network.connect_timeout};
    _engine.events.at(arrival(home, *target), [this, step] { knock(step); });
}

// A connect arrived at the target.
void network::knock(handshake step) {
    if (!alive(step.asked)) {
        return;
    }
    machine& from = *step.client->home;
    machine& to = *step.client->peer_home;
    if (blocked(from, to)) {
        retry_knock(step);
        return;
    }
    std::vector<socket_ref> open = listeners(to, step.client->remote);
    if (open.empty() || _engine.faults.strikes(fault::refused_connect)) {
        _engine.events.at(arrival(to, from), [this, step] { refuse(step); });
        return;
    }
    step.listener = open[_engine.traffic.below(open.size())];
    if (step.listener->backlog.size() >= step.listener->backlog_limit) {
        retry_knock(step);  // as Linux: a full backlog drops the request
        return;
    }
    step.server = make(to);
    step.server->local = step.client->remote;
    step.server->remote = step.client->local;
    step.server->peer_home = &from;
    _engine.events.at(arrival(to, from), [this, step] { answer_knock(step); });
}

void network::retry_knock(handshake step) {
    if (_engine.now() >= step.deadline) {
        const request_ref asked = step.asked;
        const socket_ref client = step.client;
        asked->owner->answer(asked, -ETIMEDOUT);
        forget(client);
        return;
    }
    const duration wait = _engine.options.network.retransmit;
    _engine.events.after(_engine.traffic.between(wait, 2 * wait), [this, step] { knock(step); });
}

void network::refuse(const handshake& step) {
    if (alive(step.asked)) {
        if (blocked(*step.client->peer_home, *step.client->home)) {
            retry_knock(step);
        } else {
            step.asked->owner->answer(step.asked, -ECONNREFUSED);
            forget(step.client);
        }
    }
}

// The target's answer arrived at the client.
void network::answer_knock(handshake step) {
    if (!alive(step.asked) || blocked(*step.client->peer_home, *step.client->home) ||
        step.server->gone || step.listener->closed) {
        forget(step.server);
        if (alive(step.asked)) {
            retry_knock(step);
        }
        return;
    }
    establish(step);
}

void network::establish(const handshake& step) {
    machine& home = *step.client->home;
    const int fd = home.add({nullptr, step.client});
    if (fd < 0) {
        forget(step.server);
        forget(step.client);
        step.asked->owner->answer(step.asked, fd);
        return;
    }
    step.client->connected = step.server->connected = true;
    step.client->peer = step.server;
    step.server->peer = step.client;
    step.asked->owner->answer(step.asked, fd);
    machine& target = *step.server->home;
    _engine.log.event(_engine.now(), target.id(), home.id(), event_kind::connection,
                      step.server->id);
    _engine.events.at(arrival(home, target),
                      [this, server = step.server, listener = step.listener] {
                          if (server->gone) {
                              return;
                          }
                          if (listener->closed) {
                              send_reset(server);
                              forget(server);
                              return;
                          }
                          listener->backlog.push_back(server);
                          feed_acceptors(listener);
                      });
}

void network::accept(const request_ref& asked) {
    if (!asked->at->listening) {
        asked->owner->answer(asked, -EINVAL);
        return;
    }
    const socket_ref listener = asked->at;
    listener->acceptors.push_back(asked);
    feed_acceptors(listener);
}

void network::feed_acceptors(const socket_ref& listener) {
    while (!listener->backlog.empty() && !listener->acceptors.empty()) {
        const std::size_t choice =
            listener->acceptors.size() == 1 ? 0 : _engine.traffic.below(listener->acceptors.size());
        const request_ref asked = listener->acceptors[choice];
        const int refused = listener->home->refuses_descriptor();
        const int fd =
            refused != 0 ? refused : listener->home->add({nullptr, listener->backlog.front()});
        if (fd >= 0) {
            listener->backlog.pop_front();
            const bool more = !_engine.faults.strikes(fault::short_multishot);
            if (!more) {
                std::erase(listener->acceptors, asked);
            }
            asked->owner->answer(asked, fd, more);
        } else {
            std::erase(listener->acceptors, asked);
            asked->owner->answer(asked, fd);
        }
    }
}

void network::shutdown(const request_ref& asked) {
    const auto& what = std::get<op::shutdown>(asked->work->what);
    const socket_ref at = asked->at;
    if (!at->connected || at->failed) {
        asked->owner->answer(asked, -ENOTCONN);
        return;
    }
    if (what.how != SHUT_RD) {
        send_end(at);
        for (const request_ref& waiting : std::exchange(at->senders, {})) {
            waiting->owner->answer(waiting, -EPIPE);
        }
    }
    if (what.how != SHUT_WR) {
        at->incoming_end = true;
        feed(at);
    }
    asked->owner->answer(asked, 0);
}

void network::name(const request_ref& asked) {
    const auto& what = std::get<op::socket_name>(asked->work->what);
    if (what.peer && !asked->at->connected) {
        asked->owner->answer(asked, -ENOTCONN);
        return;
    }
    const sockaddr_in& name = what.peer ? asked->at->remote : asked->at->local;
    std::memset(what.address, 0, sizeof(*what.address));
    std::memcpy(what.address, &name, sizeof(name));
    asked->owner->answer(asked, 0);
}

bool network::cancel(const request_ref& asked) {
    const socket_ref at = asked->at;
    if (!at) {
        return false;
    }
    if (std::holds_alternative<op::connect>(asked->work->what)) {
        return true;
    }
    const auto is_it = [&](const socket::zero_copy_wait& w) { return w.waiting == asked; };
    if (std::any_of(at->zero_copies.begin(), at->zero_copies.end(), is_it)) {
        return false;  // it has been sent
    }
    return std::erase(at->acceptors, asked) + std::erase(at->receivers, asked) +
               std::erase(at->senders, asked) !=
           0;
}

void network::reset(const socket_ref& broken) {
    if (broken->connected && !broken->failed) {
        send_reset(broken);
        fail(broken, ECONNRESET);
    }
}

void network::let_go(const socket_ref& held) {
    if (--held->holders == 0 && !held->closed) {
        close(held);
    }
}

void network::close(const socket_ref& closed) {
    closed->closed = true;
    if (closed->listening) {
        for (const socket_ref& waiting : std::exchange(closed->backlog, {})) {
            send_reset(waiting);
            forget(waiting);
        }
        forget(closed);
    } else if (!closed->connected || closed->failed) {
        forget(closed);
    } else if (closed->unread() != 0) {
        send_reset(closed);
        forget(closed);
    } else {
        send_end(closed);
    }
}

void network::forget(const socket_ref& gone) {
    if (gone) {
        gone->gone = true;
        gone->home->sockets().erase(gone->id);
    }
}

void network::host_down(machine& gone, bool power_cut) {
    // NOLINTNEXTLINE(performance-unnecessary-copy-initialization): what closes leaves the original
    const std::map<std::uint64_t, socket_ref> sockets = gone.sockets();
    for (const auto& [id, left] : sockets) {
        left->acceptors.clear();
        left->receivers.clear();
        left->senders.clear();
        left->zero_copies.clear();
        left->holders = 0;
        if (power_cut) {
            left->closed = true;
            forget(left);
        } else if (!left->closed) {
            close(left);
        }
    }
}

}  // namespace weir::io::sim
