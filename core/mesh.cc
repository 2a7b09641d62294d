// SPDX-License-Identifier: Apache-2.0
#include <weir/core/mesh.hh>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/host.hh>
#include <weir/core/mesh_lane.hh>
#include <weir/core/prefetch.hh>

namespace weir {

std::size_t mesh_options::capacity() const noexcept {
    std::size_t sum = 0;
    for (unsigned level = 0; level < levels; ++level) {
        sum += credits(level);
    }
    return std::bit_ceil(sum + drain_batch);
}

mesh_port::mesh_port(shard& owner, unsigned peers, const mesh_options& options)
    : _owner(owner),
      _options(options),
      _peers_stand_still(owner.outside().peers_stand_still()),
      _loses_bells(owner.owner().canary("lost_bell")),
      _hurries_credits(owner.owner().canary("hurried_credits")),
      _peers(peers),
      _lanes(std::make_unique<lane[]>(peers)),
      _offered(std::make_unique<std::atomic<channel*>[]>(peers)) {
    WEIR_ASSERT(options.call_credits_least > 0);
    for (shard_id peer = 0; peer < peers; ++peer) {
        _lanes[peer].peer = peer;
        for (unsigned level = 0; level < mesh_options::levels; ++level) {
            _lanes[peer].levels[level].credits = options.credits(level);
        }
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
    count("weir_call_credit_timeouts_total", "Calls whose deadline passed before a credit came.",
          _counters.timed_out);
    count("weir_calls_queued_total", "Calls of other shards that waited for their group's turn.",
          _counters.calls_queued);
    count("weir_calls_refused_total", "Calls nested too deep.", _counters.calls_refused);
}

mesh_port::~mesh_port() {
    while (_first_foreign != nullptr) {
        std::exchange(_first_foreign, _first_foreign->next)->let_go();
    }
}

void mesh_port::part() noexcept {
    for (std::size_t peer = 0; peer < _peers; ++peer) {
        _lanes[peer].in = nullptr;
        _offered[peer].store(nullptr, std::memory_order_relaxed);
    }
}

/// Makes the rings for the calls to a peer, and shows them to it.
bool mesh_port::open(lane& to) {
    try {
        to.out = std::make_unique<channel>(_options);
    } catch (const std::bad_alloc&) {
        return false;
    }
    // Release: pairs with the acquire in lane_of(), where the peer finds the rings as made here.
    _owner.owner().at(to.peer).port()._offered[_owner.id()].store(to.out.get(),
                                                                  std::memory_order_release);
    return true;
}

/// returns  null if there is nothing between this shard and that one
mesh_port::lane* mesh_port::lane_of(std::size_t peer) noexcept {
    lane& found = _lanes[peer];
    if (found.in == nullptr) [[unlikely]] {
        // Acquire: pairs with the release in open().
        found.in = _offered[peer].load(std::memory_order_acquire);
    }
    return found.in != nullptr || found.out ? &found : nullptr;
}

// A call that began anew may use the credits of its own level or, in case that somebody waits for
// it, those of the level that it has by the calls above it. There it can't starve: whatever holds
// a credit of that level has as many calls above it, or more, and waits for calls with still more.
bool mesh_port::send(shard_id to, call_record& record) {
    const unsigned depth = record._context.call_depth;
    if (depth >= mesh_options::depths) {
        ++_counters.calls_refused;
        return false;
    }
    lane& target = _lanes[to];
    if (!target.out && !open(target)) [[unlikely]] {
        ++_counters.calls_refused;
        return false;
    }
    unsigned level = depth;
    if (target.levels[level].credits == 0 && record._context.calls_above < mesh_options::levels) {
        level = record._context.calls_above;
    }
    if (target.levels[level].credits == 0) [[unlikely]] {
        wait_for_credit(target, level, record);
        return true;
    }
    --target.levels[level].credits;
    record._level = static_cast<std::uint8_t>(level);
    push(target, record);
    return true;
}

void mesh_port::wait_for_credit(lane& to, unsigned level, call_record& record) {
    // First, since it may find no memory: then the call is not in line, and the caller may go.
    if (record._deadline != never && (!_deadlines.armed() || record._deadline < _deadlines.due())) {
        _deadlines.arm(record._deadline);
    }
    lane::level& line = to.levels[level];
    ++_counters.credit_waits;
    ++to.waiting;
    (line.last_waiting ? line.last_waiting->next : line.first_waiting) = &record;
    line.last_waiting = &record;
}

void mesh_port::push(lane& to, call_record& record) {
    auto& out = to.out->requests_out;
    const sequence_range range = out.claim(1);
    WEIR_ASSERT(!range.empty());  // credits leave room
    prefetch_to_write(out.slot(range.first + write_ahead));
    call_message& slot = *std::construct_at(out.slot(range.first));
    record.write(slot);
    slot.record = &record;
    slot.deadline = record._deadline;
    slot.context = record._context;
    ++_counters.calls_sent;
    touch(to);
    if (out.claimed() >= publish_batch) {
        flush_now(to);
    }
}

call_reply& mesh_port::reply(shard_id to) {
    lane& target = _lanes[to];
    auto& out = target.in->replies_out;
    if (out.claimed() >= publish_batch) {
        flush_now(target);
    }
    const sequence_range range = out.claim(1);
    WEIR_ASSERT(!range.empty());  // no more replies than credits
    prefetch_to_write(out.slot(range.first + write_ahead));
    touch(target);
    return *std::construct_at(out.slot(range.first));
}

void mesh_port::touch(lane& to) {
    if (!to.touched) {
        to.touched = true;
        _touched.push_back(&to);
    }
}

void mesh_port::flush(lane& to) {
    const std::size_t requests = to.out ? to.out->requests_out.claimed() : 0;
    const std::size_t replies = to.in ? to.in->replies_out.claimed() : 0;
    if (requests + replies == 0) {
        return;
    }
    let_peers_run();
    if (requests != 0) {
        to.out->requests_out.publish(requests);
    }
    if (replies != 0) {
        to.in->replies_out.publish(replies);
    }
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
    if (_peers <= bell::peer_bits ? peer.bell().ring_alone(bit) : peer.bell().ring(bit)) {
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
    if (peer >= _peers) {
        return;
    }
    const lane& from = _lanes[peer];
    if (from.out) {
        from.out->replies_in.prefetch();
        from.out->requests_out.prefetch();
    }
    if (from.in != nullptr) {
        from.in->requests_in.prefetch();
        from.in->replies_out.prefetch();
    }
}

instant mesh_port::drain(std::uint64_t rung, instant until) {
    std::uint64_t bits = rung | std::exchange(_backlog, 0);
    if ((bits & bell::foreign) != 0) {
        bits &= ~bell::foreign;
        drain_foreign();
    }
    for (bell_listener* const each : _listeners) {
        each->rung(rung);
    }
    _paid = _owner.now();
    charge_answers(_owner.context().group);
    while (bits != 0) {
        const unsigned bit = static_cast<unsigned>(std::countr_zero(bits));
        bits &= bits - 1;
        for (std::size_t peer = bit; peer < _peers; peer += bell::peer_bits) {
            lane* const from = lane_of(peer);
            if (from == nullptr) {
                continue;
            }
            if (from->out) {
                drain_replies(*from);
            }
            if (from->in != nullptr && !drain_requests(*from, until)) {
                _backlog |= std::uint64_t{1} << bit;
            }
        }
    }
    charge_answers(_paying);
    return _paid;
}

// Credits come back only when the slots of their replies have been released.
void mesh_port::drain_replies(lane& from) {
    std::array<unsigned, mesh_options::levels> returned{};
    const std::size_t count =
        from.out->replies_in.drain(~std::size_t{0}, [&](const call_reply& reply) {
            prefetch_to_read(&reply + read_ahead);
            // The record is gone after finish().
            const unsigned level = reply.record->_level;
            reply.record->finish(reply);
            ++returned[level];
            if (_hurries_credits) [[unlikely]] {
                from.levels[level].credits += std::exchange(returned[level], 0);
                give_credits(from, level);
            }
        });
    for (unsigned level = 0; count != 0 && level < mesh_options::levels; ++level) {
        from.levels[level].credits += returned[level];
    }
    if (count != 0 && from.waiting != 0) [[unlikely]] {
        for (unsigned level = 0; level < mesh_options::levels; ++level) {
            give_credits(from, level);
        }
    }
}

// Looks at the clock after each few calls, the fewer the longer they take.
// returns  false when something has to wait: for the next turn, or for memory
bool mesh_port::drain_requests(lane& from, instant until) {
    const task_context own = _owner.context();
    instant looked = _paid;
    std::size_t batch = std::min(_answers_per_look, answers_before_look);
    bool in_time = true;
    // What the last drain() left is all that a read gives, and the bell for the rest is answered.
    from.in->requests_in.ready();
    while (in_time && answer_some(from, batch) == batch) {
        const instant now = _owner.outside().now();
        batch = now - looked > long_answers ? 1 : std::min(2 * batch, mesh_options::drain_batch);
        _answers_per_look = batch;
        looked = now;
        in_time = now < until;
        charge_answers(_paying);
    }
    _owner.set_context(own);
    return in_time && !std::exchange(_lacks_memory, false);
}

/// Answers up to `most` calls, then releases their slots at once.
/// returns  how many: fewer when there are no more, or when one has to wait for memory
std::size_t mesh_port::answer_some(lane& from, std::size_t most) {
    auto& calls = from.in->requests_in;
    const sequence_range range = calls.read(most);
    sequence next = range.first;
    for (; next != range.end(); ++next) {
        const call_message& call = calls[next];
        prefetch_to_read(&call + read_ahead);
        if (!answer(call, from.peer)) [[unlikely]] {
            _lacks_memory = true;
            break;
        }
    }
    if (next != range.first) {
        calls.release_to(next);
    }
    return static_cast<std::size_t>(next - range.first);
}

/// returns  false if it has to stay in its ring, since there is no memory to put it in line. Then
///          others of its group are in line, which give theirs back; else it is run out of turn
bool mesh_port::answer(const call_message& call, shard_id from) {
    const task_context context{
        call.context.group, static_cast<std::uint8_t>(call.context.call_depth + 1),
        static_cast<std::uint8_t>(std::min(call.context.calls_above + 1, 255))};
    if (!answers_now(context.group)) [[unlikely]] {
        if (queue_call(call, from, context)) {
            ++_counters.calls_received;
            return true;
        }
        if (_queued[context.group.index] != 0) {
            return false;
        }
    }
    ++_counters.calls_received;
    _owner.set_context(context);
    call.invoke(call, from);
    return true;
}

// While there is one group it needs no account.
bool mesh_port::answers_now(scheduling_group group) {
    if (_owner.scheduler().group_count() == 1) [[likely]] {
        return true;
    }
    if (group != _paying) {
        charge_answers(group);
    }
    return _answers_now && _queued[group.index] == 0;
}

void mesh_port::charge_answers(scheduling_group next) {
    scheduler& groups = _owner.scheduler();
    if (groups.group_count() > 1) [[unlikely]] {
        const instant now = _owner.outside().now();
        groups.charge_aside(_paying, now - _paid);
        _paid = now;
        _paying = next;
        _answers_now = groups.runs_next(next);
    }
}

/// A call that waits for the turn of its group.
class mesh_port::queued_call final : public task, public detail::pooled {
  public:
    queued_call(mesh_port& port, const call_message& call, shard_id from, task_context context)
        : task(context), _port(port), _from(from) {
        std::memcpy(_call, &call, sizeof call);
    }
    void run() noexcept override {
        alignas(call_message) std::byte copy[sizeof(call_message)];
        std::memcpy(copy, _call, sizeof copy);
        mesh_port& port = _port;
        const shard_id from = _from;
        --port._queued[context().group.index];
        delete this;
        const auto& call = *std::launder(reinterpret_cast<const call_message*>(copy));
        call.invoke(call, from);
    }

  private:
    mesh_port& _port;
    const shard_id _from;
    std::byte _call[sizeof(call_message)];
};

bool mesh_port::queue_call(const call_message& call, shard_id from, task_context context) noexcept {
    try {
        _owner.make_ready(*new queued_call(*this, call, from, context));
    } catch (const std::bad_alloc&) {
        return false;
    }
    ++_queued[context.group.index];
    ++_counters.calls_queued;
    return true;
}

// The first in line that may have a credit of `level`: of that level, or of a deeper one if it is
// there only because a handler may wait for it.
call_record* mesh_port::next_waiting(lane& to, unsigned level) noexcept {
    for (unsigned at = level; at < mesh_options::levels; ++at) {
        lane::level& line = to.levels[at];
        if (call_record* const first = line.first_waiting;
            first != nullptr && first->_context.call_depth <= level) {
            line.first_waiting = std::exchange(first->next, nullptr);
            if (line.first_waiting == nullptr) {
                line.last_waiting = nullptr;
            }
            --to.waiting;
            return first;
        }
    }
    return nullptr;
}

/// Those that are there, to who waits for one.
void mesh_port::give_credits(lane& to, unsigned level) {
    while (to.levels[level].credits != 0) {
        call_record* const next = next_waiting(to, level);
        if (next == nullptr) {
            return;
        }
        --to.levels[level].credits;
        next->_level = static_cast<std::uint8_t>(level);
        push(to, *next);
    }
}

void mesh_port::expire_waiting() noexcept {
    instant next = never;
    for (std::size_t peer = 0; peer < _peers; ++peer) {
        expire_waiting(_lanes[peer], next);
    }
    if (next != never) {
        // Not for each call alone: a long line is gone through once a grain.
        _deadlines.arm(std::max(next, _owner.now() + deadline_grain));
    }
}

void mesh_port::expire_waiting(lane& of, instant& next) noexcept {
    for (lane::level& line : of.levels) {
        call_record* before = nullptr;
        for (call_record* each = line.first_waiting; each != nullptr;) {
            call_record* const after = each->next;
            if (each->_deadline >= _owner.now()) {
                next = std::min(next, each->_deadline == never ? never : each->_deadline);
                before = each;
            } else {
                (before ? before->next : line.first_waiting) = after;
                if (after == nullptr) {
                    line.last_waiting = before;
                }
                --of.waiting;
                ++_counters.timed_out;
                each->refuse(make_failure("call", "another shard", errc::timed_out));
            }
            each = after;
        }
    }
}

std::size_t mesh_port::waiting(shard_id peer) const noexcept {
    return _lanes[peer].waiting;
}

}  // namespace weir
