// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include <weir/core/metrics.hh>
#include <weir/core/ring.hh>
#include <weir/core/shard.hh>

namespace weir {

class call_record;

/// How many calls a shard may have under way to each other shard. A call that a call's handler
/// makes, and may wait for, is one level deeper and has credits of its own, so that shards that
/// call each other can't wait for each other for ever; beyond the last level a call fails as
/// overloaded. What nobody need wait for begins at level 0 again, see begins_anew; in case that
/// somebody does, its calls have the credits of the level that they would have otherwise, too.
struct mesh_options {
    static constexpr unsigned depths = 4;
    static constexpr unsigned levels = 2 * depths;
    unsigned call_credits = 128;       ///< level 0; each deeper level has half of the one above
    unsigned call_credits_least = 8;   ///< of each level; from 1 on
    std::size_t foreign_calls = 4096;  ///< of threads without a shard, waiting for one shard

    /// Levels from `depths` on are only for calls that began anew and may be waited for.
    unsigned credits(unsigned level) const noexcept {
        const unsigned halved = call_credits >> level;
        return level >= depths ? 1 : halved > call_credits_least ? halved : call_credits_least;
    }
    /// Slots of a ring, of requests or of replies, so that whoever may claim one has room. Let C be
    /// the credits of all levels together. A caller takes a credit before it claims a request's
    /// slot, and gives it back after it has released the slot of the reply.
    ///
    /// Replies: a slot is claimed for one call and released before the credit of that call comes
    /// back, so there are never more of them than credits in use, C.
    ///
    /// Requests: the callee releases their slots after each `drain_batch`, and an answer may leave
    /// before the batch of its request has ended. So the slots in use are those of calls that hold
    /// a credit, and of the batch under way: C + drain_batch.
    ///
    /// Neither side counts anew: the release of a slot happens before the publication that lets
    /// the other side claim it. tests/model/call.pml checks all this over all interleavings.
    std::size_t capacity() const noexcept;
    static constexpr std::size_t drain_batch = 12;  ///< requests between releases
};

/// A call on its way: one cache line.
struct alignas(64) call_message {
    void (*invoke)(const call_message&, shard_id from) noexcept;
    call_record* record;  ///< the caller's; not touched if callable and result are small
    instant deadline;
    task_context context;
    alignas(8) std::byte callable[32];
};
static_assert(sizeof(call_message) == 64);

/// What came of it: the value itself if it is small and trivial, else it lies in the record.
struct alignas(64) call_reply {
    call_record* record;
    bool in_record;
    alignas(8) std::byte value[48];
};
static_assert(sizeof(call_reply) == 64);

/// The caller's side of a call, from the caller's pool. Lives until its reply is read, even if
/// nobody waits any more.
/// thread   the caller's shard; while the call is under way the callee may use the callable and
///          store a large result
class call_record {
  public:
    virtual void write(call_message& slot) noexcept = 0;
    virtual void finish(const call_reply& reply) noexcept = 0;
    /// Ends a call that was never under way.
    virtual void refuse(std::exception_ptr failure) noexcept = 0;

    call_record* next = nullptr;  ///< in line for a credit

  protected:
    call_record(task_context context, instant deadline) noexcept
        : _context(context), _deadline(deadline) {}
    ~call_record() = default;

    friend class mesh_port;
    task_context _context;
    std::uint8_t _level = 0;  // whose credit it holds
    instant _deadline;
};

struct mesh_counters {
    std::uint64_t calls_sent = 0;
    std::uint64_t calls_received = 0;
    std::uint64_t bells_rung = 0;
    std::uint64_t wakeups = 0;
    std::uint64_t credit_waits = 0;
    std::uint64_t timed_out = 0;      ///< while they waited for a credit
    std::uint64_t calls_queued = 0;   ///< of peers, that waited for their group's turn
    std::uint64_t calls_refused = 0;  ///< too deep
    std::uint64_t foreign_calls = 0;
    std::uint64_t foreign_refused = 0;  ///< too many at once
};

/// What a foreign thread wants done on a shard.
class foreign_work {
  public:
    virtual ~foreign_work() = default;
    /// thread   the shard's
    virtual void run() noexcept = 0;
    /// It has left the line: after run(), or unrun since the shard has ended.
    virtual void let_go() noexcept { delete this; }

    foreign_work* next = nullptr;  ///< in line
};

/// Told when peers ring: for what shards share beside calls, such as rings of a pipeline.
/// thread   the shard's
class bell_listener {
  public:
    /// bits   bell::bit_of() each peer that rang since the last time
    virtual void rung(std::uint64_t bits) noexcept = 0;

  protected:
    ~bell_listener() = default;
};

/// One shard's end of the mesh. The first call to a peer makes the rings for all calls to it, one
/// of requests out and one of replies back. After that memory is asked for only by
/// - a call that waits for a credit and has a deadline, for a timer;
/// - a call that has to wait for its group's turn. Where there is none, it stays in its ring if
///   others of its group are in line, and else is run out of turn.
/// thread   the owning shard, except post() and try_post()
class mesh_port {
  public:
    mesh_port(shard& owner, unsigned peers, const mesh_options& options);
    ~mesh_port();
    mesh_port(const mesh_port&) = delete;
    mesh_port& operator=(const mesh_port&) = delete;

    /// Forgets the rings of all peers, whose memory may go after it.
    void part() noexcept;

    /// Sends, or puts the record in line for a credit.
    /// returns  false when the call is nested too deep, or the first to that shard and there is no
    ///          memory for its rings; the record was not taken
    bool send(shard_id to, call_record& record);
    /// The slot of a reply to `to`; publish() sends it.
    call_reply& reply(shard_id to);

    /// Begins to fetch what drain() will read and the answers to it will write. For the first of
    /// the peers that rang: with more of them there is no waiting for lines to be saved.
    void prefetch(std::uint64_t rung) const noexcept;
    /// Takes what arrived: replies first, since they return credits, then calls, until the time
    /// is `until`. Keeps in mind what it had to leave. Calls run here and now if their group would
    /// run next, and else become tasks of it; it pays for them.
    /// returns  until when the time of this turn was charged to groups
    instant drain(std::uint64_t rung, instant until);
    /// Whether drain() left something.
    bool backlog() const noexcept { return _backlog != 0; }
    /// Publishes requests and replies, rings the peers' bells, wakes those that sleep.
    /// returns  whether it woke one since the last time, which may need poller::submit()
    bool publish();

    /// Rings the bell of `peer` at once: something was published that its listeners look for. If
    /// it sleeps it is woken now, whatever this turn still does.
    void nudge(shard_id peer);
    /// Adds who is told when peers ring, nudges included.
    void listen(bell_listener& added) { _listeners.push_back(&added); }
    void stop_listening(bell_listener& gone) noexcept { std::erase(_listeners, &gone); }

    /// Has `work` run on this shard.
    /// returns  false when mesh_options::foreign_calls wait already; `work` was not taken
    /// thread   any
    [[nodiscard]] bool try_post(std::unique_ptr<foreign_work>& work) noexcept;
    /// For the few that a host itself posts, which must not be refused.
    /// work     lives until let_go()
    /// thread   any
    void post(foreign_work& work) noexcept;

    mesh_counters counters() const;
    /// Calls in line for a credit to `peer`.
    std::size_t waiting(shard_id peer) const noexcept;

  private:
    struct channel;
    struct lane;
    class queued_call;
    /// Fails the calls whose deadline passes while they wait for a credit.
    class deadlines final : public timer {
      public:
        explicit deadlines(mesh_port& of) noexcept : _port(of) {}
        ~deadlines() = default;

      private:
        void fire() noexcept override { _port.expire_waiting(); }
        mesh_port& _port;
    };

    static constexpr std::size_t publish_batch = 32;  // slots claimed before a bell is worth it
    // What peers' calls may take together before the clock is looked at after each.
    static constexpr duration long_answers = std::chrono::microseconds(30);
    static constexpr std::size_t answers_before_look = 4;
    static constexpr duration deadline_grain = std::chrono::microseconds(100);
    // Each slot comes from the other side's cache, so several are fetched at a time.
    static constexpr int read_ahead = 4;
    static constexpr int write_ahead = 8;

    void register_metrics();
    bool open(lane& to);
    lane* lane_of(std::size_t peer) noexcept;
    void push(lane& to, call_record& record);
    void touch(lane& to);
    void flush(lane& to);
    void flush_now(lane& to);
    void ring_bell(shard_id peer);
    void submit_wakes();
    bool add_foreign(foreign_work& work, std::size_t limit) noexcept;
    void drain_replies(lane& from);
    bool drain_requests(lane& from, instant until);
    std::size_t answer_some(lane& from, std::size_t most);
    bool answer(const call_message& call, shard_id from);
    bool answers_now(scheduling_group group);
    bool queue_call(const call_message& call, shard_id from, task_context context) noexcept;
    void charge_answers(scheduling_group next);
    void drain_foreign() noexcept;
    void wait_for_credit(lane& to, unsigned level, call_record& record);
    call_record* next_waiting(lane& to, unsigned level) noexcept;
    void give_credits(lane& to, unsigned level);
    void expire_waiting() noexcept;
    void expire_waiting(lane& of, instant& next) noexcept;
    /// On cores of their own peers run all the time; see poller::let_peers_run().
    void let_peers_run() {
        if (_peers_stand_still) [[unlikely]] {
            _owner.outside().let_peers_run();
        }
    }

    shard& _owner;
    const mesh_options _options;
    const bool _peers_stand_still;
    const bool _loses_bells;      // a canary
    const bool _hurries_credits;  // another
    const std::size_t _peers;
    const std::unique_ptr<lane[]> _lanes;  // by peer; this shard's own is not used
    // By peer: the rings of its calls to this shard, once it has made them.
    const std::unique_ptr<std::atomic<channel*>[]> _offered;
    std::vector<lane*> _touched;
    std::vector<bell_listener*> _listeners;
    std::uint64_t _backlog = 0;
    bool _woke = false;
    mesh_counters _counters;
    deadlines _deadlines{*this};

    // Who pays for the calls that are answered in drain(), since when.
    scheduling_group _paying;
    instant _paid;
    bool _answers_now = true;
    bool _lacks_memory = false;
    std::size_t _answers_per_look = answers_before_look;
    std::array<std::uint32_t, scheduler::max_groups> _queued{};  // calls in line, by group
    std::vector<metrics::registration> _metrics;

    mutable std::mutex _foreign_lock;
    // Under the lock:
    std::uint64_t _foreign_refused = 0;
    std::size_t _foreign_waiting = 0;
    foreign_work* _first_foreign = nullptr;
    foreign_work* _last_foreign = nullptr;
};

}  // namespace weir
