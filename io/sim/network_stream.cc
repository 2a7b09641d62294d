// SPDX-License-Identifier: Apache-2.0
// How bytes move along a connection: send, arrive, acknowledge, receive, end, reset.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <weir/io/sim/machine.hh>

namespace weir::io::sim {

namespace {

constexpr std::uint64_t largest_segment = 64 * 1024;

std::uint64_t length_of(const op::send& what) noexcept {
    std::uint64_t length = 0;
    for (std::uint32_t i = 0; i < what.vector_count; ++i) {
        length += what.vector[i].iov_len;
    }
    return length;
}

/// A connection takes what is written to it as a stream as if it were sent.
op::send sending(const any_op& what) noexcept {
    if (const auto* stream = std::get_if<op::write_stream>(&what)) {
        return {stream->fd, stream->vector, stream->vector_count};
    }
    return std::get<op::send>(what);
}

op::receive_into own_memory(const any_op& what) noexcept {
    if (const auto* stream = std::get_if<op::read_stream>(&what)) {
        return {stream->fd, stream->data, stream->length};
    }
    const auto* into = std::get_if<op::receive_into>(&what);
    return into == nullptr ? op::receive_into{-1, nullptr, 0} : *into;
}

}  // namespace

void network::send(const request_ref& asked) {
    // The kernel takes the bytes a little later, and perhaps in another order than asked.
    const duration delay = _engine.traffic.between(duration(200), microseconds(5));
    _engine.events.after(delay, [this, asked] {
        if (asked->work == nullptr || asked->answered) {
            return;
        }
        const socket_ref from = asked->at;
        if (!from->senders.empty() || !try_send(from, asked)) {
            from->senders.push_back(asked);
        }
    });
}

// Returns whether it answered, or will; else it has to wait for room.
bool network::try_send(const socket_ref& from, const request_ref& asked) {
    if (!from->connected || from->failed || from->end_sent) {
        const int error = std::exchange(from->error, 0);
        asked->owner->answer(asked, error != 0 ? -error : -EPIPE);
        return true;
    }
    const op::send what = sending(asked->work->what);
    const std::uint64_t length = length_of(what);
    const std::uint64_t unfreed = from->sent - from->freed;
    const std::uint32_t window = _engine.options.network.window;
    if (unfreed >= window && length != 0) {
        return false;
    }
    std::uint64_t count =
        std::min<std::uint64_t>(length, window - std::min<std::uint64_t>(unfreed, window));
    if (count > 1 && _engine.faults.strikes(fault::short_send)) {
        count = _engine.traffic.between(1, count - 1);
    }
    cut_into_segments(*from, what, count);
    if (what.zero_copy && count != 0) {
        from->zero_copies.push_back({from->sent, asked, static_cast<std::int32_t>(count)});
    } else {
        asked->owner->answer(asked, static_cast<std::int32_t>(count));
    }
    pump(from);
    return true;
}

void network::cut_into_segments(socket& from, const op::send& what, std::uint64_t count) {
    std::uint32_t part = 0;
    std::size_t within = 0;
    while (count != 0) {
        const std::uint64_t limit = std::min(count, largest_segment);
        const std::uint64_t size =
            _engine.traffic.one_in(4) ? _engine.traffic.between(1, limit) : limit;
        segment next;
        next.bytes.reserve(size);
        while (next.bytes.size() < size) {
            const iovec& source = what.vector[part];
            const std::size_t piece =
                std::min<std::size_t>(source.iov_len - within, size - next.bytes.size());
            const auto* bytes = static_cast<const std::byte*>(source.iov_base) + within;
            next.bytes.insert(next.bytes.end(), bytes, bytes + piece);
            within += piece;
            if (within == source.iov_len) {
                ++part;
                within = 0;
            }
        }
        from.last_arrival =
            std::max(from.last_arrival, arrival(*from.home, *from.peer_home)) + duration(1);
        next.arrives = from.last_arrival;
        from.flying.push_back(std::move(next));
        from.sent += size;
        count -= size;
    }
}

void network::send_end(const socket_ref& from) {
    if (from->end_sent) {
        return;
    }
    from->end_sent = true;
    segment last;
    last.end = true;
    from->last_arrival =
        std::max(from->last_arrival, arrival(*from->home, *from->peer_home)) + duration(1);
    last.arrives = from->last_arrival;
    from->flying.push_back(std::move(last));
    ++from->sent;  // as in TCP, the end takes a number and is acknowledged
    pump(from);
}

void network::send_reset(const socket_ref& from) {
    const socket_ref to = from->peer.lock();
    if (!to) {
        return;
    }
    _engine.events.at(arrival(*from->home, *to->home), [this, to, sender = from->home] {
        if (!to->gone && !blocked(*sender, *to->home)) {
            fail(to, ECONNRESET);
        }
    });
}

void network::fail(const socket_ref& broken, int error) {
    if (broken->failed || broken->gone) {
        return;
    }
    _engine.log.event(_engine.now(), broken->home->id(), 0, event_kind::reset, broken->id);
    broken->failed = true;
    broken->error = error;
    broken->flying.clear();
    broken->incoming_end = true;
    for (const request_ref& asked : std::exchange(broken->senders, {})) {
        const int reported = std::exchange(broken->error, 0);
        asked->owner->answer(asked, reported != 0 ? -reported : -EPIPE);
    }
    for (const auto& wait : std::exchange(broken->zero_copies, {})) {
        wait.waiting->owner->answer(wait.waiting, wait.result);
    }
    feed(broken);
    if (broken->closed) {
        forget(broken);
    }
}

void network::pump(const socket_ref& from) {
    if (!from->pumping && !from->flying.empty()) {
        from->pumping = true;
        _engine.events.at(from->flying.front().arrives, [this, from] { arrive(from); });
    }
}

// The first segment in flight, or a repeated one, comes to the peer's host.
void network::arrive(const socket_ref& from) {
    from->pumping = false;
    if (from->failed || from->gone) {
        return;
    }
    if (blocked(*from->home, *from->peer_home)) {
        retry(from);
        return;
    }
    const socket_ref to = from->peer.lock();
    const bool data = !from->flying.empty() && !from->flying.front().end;
    if (!to || to->gone || to->failed || (to->closed && data)) {
        if (to && to->closed) {
            forget(to);
        }
        _engine.events.at(arrival(*from->peer_home, *from->home), [this, from] {
            if (blocked(*from->peer_home, *from->home)) {
                retry(from);
            } else {
                fail(from, ECONNRESET);
            }
        });
        return;
    }
    if (_engine.faults.strikes(fault::connection_loss)) {
        fail(from, ECONNRESET);
        fail(to, ECONNRESET);
        return;
    }
    if (!from->flying.empty()) {
        deliver(from, to);
    }
    acknowledge(to);
    pump(from);
}

void network::deliver(const socket_ref& from, const socket_ref& to) {
    const segment arrived = std::move(from->flying.front());
    from->flying.pop_front();
    _engine.log.event(_engine.now(), to->home->id(), from->home->id(), event_kind::segment,
                      hash_bytes(arrived.bytes.data(), arrived.bytes.size(), to->id));
    if (arrived.end) {
        ++to->received;
        ++to->consumed;
        to->incoming_end = true;
    } else {
        to->received += arrived.bytes.size();
        if (to->incoming_end) {
            to->consumed += arrived.bytes.size();  // its program shut this direction
        } else {
            to->incoming.insert(to->incoming.end(), arrived.bytes.begin(), arrived.bytes.end());
        }
    }
    feed(to);
}

// Nothing gets through, or no acknowledgement came back: again, later, until it is too long.
void network::retry(const socket_ref& from) {
    if (from->blocked_since == never) {
        from->blocked_since = _engine.now();
        from->retries = 0;
    } else if (_engine.now() - from->blocked_since > _engine.options.network.give_up) {
        fail(from, ETIMEDOUT);
        return;
    }
    if (!from->pumping) {
        from->pumping = true;
        const duration wait =
            _engine.options.network.retransmit * (1 << std::min(from->retries++, 4U));
        _engine.events.after(_engine.traffic.between(wait / 2, wait),
                             [this, from] { arrive(from); });
    }
}

// Tells the sender what has arrived and what the program has taken.
void network::acknowledge(const socket_ref& receiver) {
    const socket_ref sender = receiver->peer.lock();
    if (!sender || receiver->acknowledging) {
        return;
    }
    receiver->acknowledging = true;
    _engine.events.at(arrival(*receiver->home, *sender->home),
                      [this, receiver, sender] { acknowledged(receiver, sender); });
}

void network::acknowledged(const socket_ref& receiver, const socket_ref& sender) {
    receiver->acknowledging = false;
    if (sender->failed || sender->gone) {
        return;
    }
    if (receiver->gone || blocked(*receiver->home, *sender->home)) {
        retry(sender);
        return;
    }
    sender->blocked_since = never;
    sender->acknowledged = receiver->received;
    sender->freed = receiver->consumed;
    _engine.log.event(_engine.now(), sender->home->id(), receiver->home->id(),
                      event_kind::acknowledge, sender->acknowledged ^ sender->freed << 32);
    auto& waits = sender->zero_copies;
    while (!waits.empty() && waits.front().until <= sender->acknowledged) {
        const auto done = waits.front();
        waits.erase(waits.begin());
        done.waiting->owner->answer(done.waiting, done.result);
    }
    while (!sender->senders.empty()) {
        const request_ref asked = sender->senders.front();
        if (!try_send(sender, asked)) {
            break;
        }
        std::erase(sender->senders, asked);
    }
    const bool all_sent = sender->end_sent && sender->acknowledged == sender->sent;
    if (sender->closed && all_sent && sender->incoming_end) {
        forget(sender);
    }
}

void network::receive(const request_ref& asked) {
    const socket_ref at = asked->at;
    if (!at->connected && !at->failed) {
        asked->owner->answer(asked, -ENOTCONN);
        return;
    }
    at->receivers.push_back(asked);
    feed(at);
}

void network::feed(const socket_ref& to) {
    while (!to->receivers.empty()) {
        const request_ref asked = to->receivers.front();
        if (!feed_one(to, asked)) {
            break;
        }
    }
    if (to->closed && to->incoming_end && to->end_sent && to->acknowledged == to->sent) {
        forget(to);
    }
}

// Returns false when there is nothing more for this request now.
bool network::feed_one(const socket_ref& to, const request_ref& asked) {
    const auto end = [&](std::int32_t result) {
        std::erase(to->receivers, asked);
        asked->owner->answer(asked, result);
        return true;
    };
    const std::size_t available = to->unread();
    if (available == 0) {
        if (!to->incoming_end) {
            return false;
        }
        return end(-std::exchange(to->error, 0));
    }
    if (const auto own = own_memory(asked->work->what); own.data != nullptr) {
        return end(
            static_cast<std::int32_t>(take(*to, static_cast<std::byte*>(own.data), own.length)));
    }
    lent_buffer buffer = asked->owner->lend();
    if (buffer.data == nullptr) {
        return end(-ENOBUFS);
    }
    buffer.length = static_cast<std::uint32_t>(take(*to, buffer.data, asked->owner->buffer_size()));
    const bool more = !_engine.faults.strikes(fault::short_multishot);
    if (!more) {
        std::erase(to->receivers, asked);
    }
    asked->owner->answer(asked, static_cast<std::int32_t>(buffer.length), more, buffer);
    return true;
}

std::size_t network::take(socket& from, std::byte* into, std::size_t limit) {
    std::size_t count = std::min(limit, from.unread());
    if (count > 1 && _engine.traffic.one_in(8)) {
        count = _engine.traffic.between(1, count);
    }
    if (count != 0) {
        std::memcpy(into, from.incoming.data() + from.incoming_taken, count);
    }
    from.incoming_taken += count;
    from.consumed += count;
    if (from.incoming_taken >= from.incoming.size() / 2) {
        from.incoming.erase(
            from.incoming.begin(),
            from.incoming.begin() + static_cast<std::ptrdiff_t>(from.incoming_taken));
        from.incoming_taken = 0;
    }
    acknowledge(from.shared_from_this());
    return count;
}

}  // namespace weir::io::sim
