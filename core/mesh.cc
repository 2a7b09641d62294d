// SPDX-License-Identifier: Apache-2.0
#include <weir/core/mesh.hh>

#include <bit>
#include <limits>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/host.hh>
#include <weir/core/prefetch.hh>

namespace weir {

std::size_t mesh_options::capacity() const noexcept {
    std::size_t sum = 0;
    for (unsigned depth = 0; depth < depths; ++depth) {
        sum += credits(depth);
    }
    return std::bit_ceil(sum + drain_batch);
}

/// Everything between this shard and one peer.
struct mesh_port::lane {
    lane(shard_id peer, const mesh_options& options)
        : peer(peer),
          request_ring(options.capacity()),
          reply_ring(options.capacity()),
          requests_out(request_ring.open()),
          replies_out(reply_ring.open()) {
        for (unsigned depth = 0; depth < mesh_options::depths; ++depth) {
            levels[depth].credits = options.credits(depth);
        }
    }

    struct level {
        unsigned credits;
        call_record* first_waiting = nullptr;
        call_record* last_waiting = nullptr;
        std::size_t waiting = 0;
    };

    const shard_id peer;
    ring<call_message> request_ring;
    ring<call_reply> reply_ring;
    ring<call_message>::producer requests_out;
    ring<call_reply>::producer replies_out;
    std::optional<ring<call_message>::reader> requests_in;
    std::optional<ring<call_reply>::reader> replies_in;
    std::array<level, mesh_options::depths> levels;
    bool touched = false;
};

mesh_port::mesh_port(shard& owner, unsigned peers, const mesh_options& options)
    : _owner(owner),
      _options(options),
      _peers_stand_still(owner.outside().peers_stand_still()),
      _loses_bells(owner.owner().canary("lost_bell")),
      _hurries_credits(owner.owner().canary("hurried_credits")) {
    for (shard_id peer = 0; peer < peers; ++peer) {
        _lanes.push_back(peer == owner.id() ? nullptr : std::make_unique<lane>(peer, options));
    }
    _touched.reserve(peers);
    register_metrics();
}

void mesh_port::register_metrics() {
    const auto count = [this](const char* name, const char* help, const std::uint64_t& field) {
        _metrics.push_back(_owner.metrics().counter({name, help}, &field));
    };
    count("weir_calls_sent_total", "Calls to other shards.", _counters.calls_sent);
    count("weir_calls_received_total", "Calls from other shards.", _counters.calls_received);
    count("weir_bells_rung_total", "Bells of other shards rung.", _counters.bells_rung);
    count("weir_wakeups_total", "Sleeping shards woken.", _counters.wakeups);
    count("weir_call_credit_waits_total", "Calls that waited for a credit.",
          _counters.credit_waits);
    count("weir_calls_refused_total", "Calls nested too deep.", _counters.calls_refused);
}

mesh_port::~mesh_port() = default;

void mesh_port::join(mesh_port& peer) {
    lane& theirs = *peer._lanes[_owner.id()];
    lane& ours = *_lanes[peer._owner.id()];
    ours.requests_in = theirs.requests_out.join();
    ours.replies_in = theirs.replies_out.join();
    WEIR_ASSERT(ours.requests_in && ours.replies_in);
}

void mesh_port::part() noexcept {
    for (auto& each : _lanes) {
        if (each) {
            each->requests_in.reset();
            each->replies_in.reset();
        }
    }
}

bool mesh_port::send(shard_id to, call_record& record) {
    const unsigned depth = record._context.call_depth;
    if (depth >= mesh_options::depths) {
        ++_counters.calls_refused;
        return false;
    }
    lane& target = *_lanes[to];
    lane::level& level = target.levels[depth];
    if (level.credits == 0) {
        ++_counters.credit_waits;
        ++level.waiting;
        (level.last_waiting ? level.last_waiting->next : level.first_waiting) = &record;
        level.last_waiting = &record;
        return true;
    }
    --level.credits;
    push(target, record);
    return true;
}

void mesh_port::push(lane& to, call_record& record) {
    const sequence_range range = to.requests_out.claim(1);
    WEIR_ASSERT(!range.empty());  // credits leave room
    prefetch_to_write(to.requests_out.slot(range.first + write_ahead));
    call_message& slot = *std::construct_at(to.requests_out.slot(range.first));
    record.write(slot);
    slot.record = &record;
    slot.deadline = record._deadline;
    slot.context = record._context;
    ++_counters.calls_sent;
    touch(to);
    if (to.requests_out.claimed() >= publish_batch) {
        flush_now(to);
    }
}

call_reply& mesh_port::reply(shard_id to) {
    lane& target = *_lanes[to];
    if (target.replies_out.claimed() >= publish_batch) {
        flush_now(target);
    }
    const sequence_range range = target.replies_out.claim(1);
    WEIR_ASSERT(!range.empty());  // no more replies than credits
    prefetch_to_write(target.replies_out.slot(range.first + write_ahead));
    touch(target);
    return *std::construct_at(target.replies_out.slot(range.first));
}

void mesh_port::touch(lane& to) {
    if (!to.touched) {
        to.touched = true;
        _touched.push_back(&to);
    }
}

void mesh_port::flush(lane& to) {
    const std::size_t requests = to.requests_out.claimed();
    const std::size_t replies = to.replies_out.claimed();
    if (requests + replies == 0) {
        return;
    }
    let_peers_run();
    to.requests_out.publish(requests);
    to.replies_out.publish(replies);
    ring_bell(to.peer);
}

// In mid-turn: a peer that sleeps shall not sleep until this turn has ended.
void mesh_port::flush_now(lane& to) {
    flush(to);
    submit_wakes();
}

void mesh_port::nudge(shard_id to) {
    ring_bell(to);
    submit_wakes();
}

void mesh_port::submit_wakes() {
    if (std::exchange(_woke, false)) {
        _owner.outside().submit();
    }
}

void mesh_port::ring_bell(shard_id to) {
    if (_loses_bells && _owner.random() % 8 == 0) {
        return;  // the canary: published, and nobody is told
    }
    let_peers_run();
    shard& peer = _owner.owner().at(to);
    ++_counters.bells_rung;
    const std::uint64_t bit = bell::bit_of(_owner.id());
    if (_lanes.size() <= bell::peer_bits ? peer.bell().ring_alone(bit) : peer.bell().ring(bit)) {
        let_peers_run();
        ++_counters.wakeups;
        _woke = true;
        _owner.outside().wake(peer.outside());
    }
    let_peers_run();
}

bool mesh_port::publish() {
    for (lane* each : _touched) {
        each->touched = false;
        flush(*each);
    }
    _touched.clear();
    return std::exchange(_woke, false);
}

void mesh_port::prefetch(std::uint64_t rung) const noexcept {
    const auto peer = static_cast<std::size_t>(std::countr_zero(rung));
    if (peer < _lanes.size() && _lanes[peer]) {
        const lane& from = *_lanes[peer];
        from.replies_in->prefetch();
        from.requests_in->prefetch();
        from.requests_out.prefetch();
        from.replies_out.prefetch();
    }
}

void mesh_port::drain(std::uint64_t rung, instant until) {
    std::uint64_t bits = rung | std::exchange(_backlog, 0);
    if ((bits & bell::foreign) != 0) {
        bits &= ~bell::foreign;
        drain_foreign();
    }
    for (bell_listener* const each : _listeners) {
        each->rung(rung);
    }
    while (bits != 0) {
        const unsigned bit = static_cast<unsigned>(std::countr_zero(bits));
        bits &= bits - 1;
        for (std::size_t peer = bit; peer < _lanes.size(); peer += bell::peer_bits) {
            if (_lanes[peer] && !drain_lane(*_lanes[peer], until)) {
                _backlog |= std::uint64_t{1} << bit;
            }
        }
    }
}

// Credits come back only when the slots of their replies have been released.
void mesh_port::drain_replies(lane& from) {
    std::array<unsigned, mesh_options::depths> returned{};
    const std::size_t count = from.replies_in->drain(~std::size_t{0}, [&](const call_reply& reply) {
        prefetch_to_read(&reply + read_ahead);
        // The record is gone after finish().
        const unsigned depth = reply.record->_context.call_depth;
        reply.record->finish(reply);
        ++returned[depth];
        if (_hurries_credits) [[unlikely]] {
            return_credits(from, depth, std::exchange(returned[depth], 0));
        }
    });
    for (unsigned depth = 0; count != 0 && depth < mesh_options::depths; ++depth) {
        return_credits(from, depth, returned[depth]);
    }
}

bool mesh_port::drain_lane(lane& from, instant until) {
    drain_replies(from);
    const task_context own = _owner.context();
    while (from.requests_in->drain(mesh_options::drain_batch, [&](const call_message& call) {
        prefetch_to_read(&call + read_ahead);
        ++_counters.calls_received;
        _owner.set_context(
            {call.context.group, static_cast<std::uint8_t>(call.context.call_depth + 1)});
        call.invoke(call, from.peer);
    }) == mesh_options::drain_batch) {
        if (_owner.outside().now() >= until) {
            _owner.set_context(own);
            return false;
        }
    }
    _owner.set_context(own);
    return true;
}

void mesh_port::return_credits(lane& to, unsigned depth, unsigned count) {
    lane::level& level = to.levels[depth];
    level.credits += count;
    while (level.credits != 0 && level.first_waiting != nullptr) {
        call_record& next = *level.first_waiting;
        level.first_waiting = std::exchange(next.next, nullptr);
        if (level.first_waiting == nullptr) {
            level.last_waiting = nullptr;
        }
        --level.waiting;
        --level.credits;
        push(to, next);
    }
}

bool mesh_port::try_post(std::unique_ptr<foreign_work>& work) {
    return add_foreign(work, _options.foreign_calls);
}

void mesh_port::post(std::unique_ptr<foreign_work> work) {
    add_foreign(work, std::numeric_limits<std::size_t>::max());
}

bool mesh_port::add_foreign(std::unique_ptr<foreign_work>& work, std::size_t limit) {
    {
        const std::lock_guard guard(_foreign_lock);
        if (_foreign.size() >= limit) {
            ++_foreign_refused;
            return false;
        }
        _foreign.push_back(std::move(work));
    }
    if (_owner.bell().ring(bell::foreign)) {
        _owner.outside().interrupt();
    }
    return true;
}

mesh_counters mesh_port::counters() const {
    mesh_counters result = _counters;
    const std::lock_guard guard(_foreign_lock);
    result.foreign_refused = _foreign_refused;
    return result;
}

void mesh_port::drain_foreign() {
    std::vector<std::unique_ptr<foreign_work>> arrived;
    {
        const std::lock_guard guard(_foreign_lock);
        arrived.swap(_foreign);
    }
    _counters.foreign_calls += arrived.size();
    for (auto& work : arrived) {
        work->run();
    }
}

std::size_t mesh_port::waiting(shard_id peer) const noexcept {
    std::size_t sum = 0;
    if (_lanes[peer]) {
        for (const lane::level& level : _lanes[peer]->levels) {
            sum += level.waiting;
        }
    }
    return sum;
}

}  // namespace weir
