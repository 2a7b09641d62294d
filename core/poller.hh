// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include <weir/core/time.hh>

namespace weir {

/// Work for the host's thread pool: run() there, complete() back on the shard that asked.
class blocking_work {
  public:
    /// thread   a pool thread (in the simulator: the shard itself, inline)
    virtual void run() noexcept = 0;
    /// Makes the waiting task ready; may destroy this object.
    /// thread   the shard that called poller::run_blocking
    virtual void complete() noexcept = 0;

    blocking_work* next = nullptr;  ///< for whoever holds the work between the two calls

  protected:
    ~blocking_work() = default;
};

/// All that core knows of the outside. One poller belongs to one shard; io implements it on
/// io_uring (production) and in the simulator (virtual time, many hosts in one thread).
/// thread   the owning shard, except interrupt()
class poller {
  public:
    virtual ~poller() = default;

    /// The monotonic clock. A shard reads it once a turn.
    virtual instant now() noexcept = 0;
    /// Milliseconds since the epoch.
    virtual wall_clock_ms wall_now() noexcept = 0;

    /// Takes what has completed and makes the waiting tasks ready; runs no user code.
    /// returns  how many completions there were
    virtual unsigned poll() = 0;
    /// Whether a poll() now would find something that completions_word() does not tell of:
    /// completions already in the queue, finished calls of the thread pool.
    /// cost     a few loads
    virtual bool has_completions() const noexcept { return false; }
    /// Hands everything prepared since the last call to the kernel; never blocks.
    /// cost     at most one system call, none when nothing is prepared and nothing is due
    virtual void submit() = 0;
    /// As submit(), where the shard's next step is park() unless a bell stops it: what park()
    /// submits anyway may be left to it. If a bell does stop it, the shard calls submit().
    virtual void submit_before_park() { submit(); }
    /// Submits, then blocks until a completion, an interrupt or `until`. May return early.
    /// The shard has said ASLEEP in its bell before and takes it back after.
    virtual void park(instant until) = 0;

    /// Wakes the shard of `peer`, which has said ASLEEP; called by this poller's own shard after
    /// it rang the peer's bell. May be delayed to the next submit().
    virtual void wake(poller& peer) = 0;
    /// Ends park(), or the next park() if none is under way.
    /// thread   any
    virtual void interrupt() noexcept = 0;

    /// Starts the time slice that preempt() measures, at what now() said last; called where a turn
    /// begins.
    virtual void begin_slice() noexcept = 0;
    /// Whether the running task should yield: the quota is used up, or something waits
    /// (`rung`) and the minimum slice is over. In the simulator a seeded choice.
    /// cost     a time stamp counter
    virtual bool preempt(bool rung) noexcept = 0;
    /// How many checks of need_preempt() may pass before preempt() is asked again, when it has said
    /// no: few while tasks are long.
    /// checks   that passed since it was asked before, or since the slice began
    /// most     the answer, at most
    virtual unsigned next_look(unsigned checks, unsigned most) noexcept {
        static_cast<void>(checks);
        return most;
    }
    /// A word of which a bit in completions_mask() says that completions wait. Never null.
    virtual const std::atomic<std::uint32_t>* completions_word() const noexcept = 0;
    virtual std::uint32_t completions_mask() const noexcept = 0;

    /// Runs `work` where it may block; complete() follows on this shard in a later poll().
    /// `work` must live until then.
    virtual void run_blocking(blocking_work& work) noexcept = 0;

    /// The shard's source of random numbers: seeded in the simulator.
    virtual std::uint64_t random() noexcept = 0;
    /// Whether ready tasks run in random order (the simulator) or first come, first served.
    virtual bool shuffles() const noexcept { return false; }
    /// Whether the shard's peers stand still during its turns, except in let_peers_run().
    virtual bool peers_stand_still() const noexcept { return false; }
    /// Called where a turn shows something to its peers or wakes them. On cores of their own they
    /// go on meanwhile; the simulator, which has one thread, lets them take turns in here.
    virtual void let_peers_run() {}
};

}  // namespace weir
