// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <csignal>
#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include <weir/core/bell.hh>
#include <weir/core/origin.hh>
#include <weir/core/poller.hh>
#include <weir/core/pool.hh>
#include <weir/core/scheduler.hh>
#include <weir/core/task.hh>
#include <weir/core/time.hh>
#include <weir/core/timer.hh>

namespace weir {

class fiber_pool;
class host;
class logger;
class mesh_port;
class metrics;
struct log_context;

using shard_id = std::uint32_t;

/// Aborts: there is no shard `asked`.
[[noreturn, gnu::cold]] void no_such_shard(shard_id asked, unsigned count) noexcept;

/// Limits and measures of one shard. Each is an option of the host.
struct shard_options {
    duration spin_max = std::chrono::microseconds(50);    ///< idle spinning before sleep; 0: none
    bool poll_forever = false;                            ///< spin and never sleep
    duration drain_max = std::chrono::microseconds(125);  ///< calls of peers before own tasks
    std::size_t pool_cache_bytes = 256 * 1024;            ///< free blocks kept, per size
    std::size_t fibers = 10'000;                          ///< that have not ended
    std::size_t fiber_stack_bytes = 256 * 1024;           ///< address space; memory as touched
    std::size_t fiber_stacks_kept = 256;                  ///< for fibers to come
};

/// What a shard has done; read by metrics and tests.
struct shard_counters {
    std::uint64_t turns = 0;
    std::uint64_t completions = 0;
    std::uint64_t parks = 0;
    std::uint64_t preemptions = 0;
    std::uint64_t timers_expired = 0;
    std::uint64_t failures_ignored = 0;  ///< failed futures that nobody looked at
    duration asleep{};
    /// Not there when a turn was due, beyond absence_min each time: the process was stopped, the
    /// machine was suspended, or a task kept the shard.
    duration absent{};
};

/// One core's world: a run queue, timers, memory, one end of every ring. Everything on it runs
/// in one thread, so nothing here is locked.
class shard {
    class shard_metrics;

  public:
    shard(host& owner, shard_id id, poller& outside, const shard_options& options);
    shard(const shard&) = delete;
    shard& operator=(const shard&) = delete;
    ~shard();

    /// Runs the shard once around; never blocks. See shard.cc: it is the page to read first.
    /// returns  when it wants to run next: now() if there is work, `never` if only a bell or a
    ///          completion can make some
    instant turn();
    /// Spins a little, then sleeps until `until`, a bell or a completion. Follows turn() wherever
    /// shards sleep at all: it may have left it to park() to submit.
    void park(instant until);

    shard_id id() const noexcept { return _id; }
    /// Aborts if this host has no shard of that number.
    void check_peer(shard_id peer) const noexcept {
        if (peer >= _shards) [[unlikely]] {
            no_such_shard(peer, _shards);
        }
    }
    host& owner() const noexcept { return _host; }
    poller& outside() const noexcept { return _outside; }
    weir::bell& bell() noexcept { return _bell; }
    block_pool& pool() noexcept { return _pool; }
    timer_heap& timers() noexcept { return _timers; }
    weir::scheduler& scheduler() noexcept { return _scheduler; }
    fiber_pool& fibers() noexcept { return *_fibers; }
    mesh_port& port() noexcept { return *_port; }
    const shard_counters& counters() const noexcept { return _counters; }
    /// Where this shard's parts register what they count; see metrics.hh.
    weir::metrics& metrics() noexcept { return *_metrics; }
    /// The shard's own log lines. A component makes a logger of its own on host::log_sink().
    logger& log() noexcept { return *_log; }
    /// Now and here, for a line of a logger.
    weir::log_context log_context() const noexcept;

    /// The monotonic clock as read at the start of this turn.
    instant now() const noexcept { return _now; }
    wall_clock_ms wall_now() const noexcept { return _outside.wall_now(); }
    std::uint64_t random() noexcept { return _outside.random(); }

    /// Puts a task in line, in its own group. Never runs it here.
    void make_ready(task& ready) noexcept { _scheduler.make_ready(ready); }

    /// Whether the running task should let others run. Loops check it, and co_await does.
    /// cost     three loads; a time stamp counter once in up to `checks_per_look` times, more often
    ///          when rung, or when what lies between is long
    bool need_preempt() noexcept {
        const bool rung = _bell.rung() || completions_wait();
        _countdown -= rung ? checks_when_rung : 1;
        if (_countdown > 0) [[likely]] {
            return false;
        }
        return look_at_clock(rung);
    }

    /// Asks the running task to end its loops soon: it has run for very long.
    /// thread   the shard's, in a signal's handler too
    void hurry() noexcept { _hurried = 1; }
    /// Whether it was asked: for loops in which need_preempt() would cost too much.
    /// cost     a load
    bool hurried() const noexcept { return _hurried != 0; }

    /// What tasks created now inherit.
    const task_context& context() const noexcept { return _context; }
    void set_context(task_context context) noexcept { _context = context; }
    /// The task that was begun last and its group; null between turns. For reports of stalls and
    /// crashes: the task may be gone already.
    /// thread   any
    const task* running() const noexcept { return _running.load(std::memory_order_relaxed); }
    scheduling_group running_group() const noexcept {
        return {_running_group.load(std::memory_order_relaxed)};
    }

    /// Allows at most `inline_limit` nested or chained inline resumptions a task, in every build:
    /// one order of events everywhere, and no stack that grows.
    bool may_run_inline(const task_context& context) noexcept {
        return _inline_runs < inline_limit && context.group == _context.group;
    }
    bool begin_inline() noexcept {
        if (_inline_runs >= inline_limit) {
            return false;
        }
        ++_inline_runs;
        return true;
    }
    void end_inline() noexcept { --_inline_runs; }
    void count_inline() noexcept { ++_inline_runs; }
    /// For fibers, which stop in the middle of inline runs and go on in another task.
    unsigned exchange_inline_runs(unsigned other) noexcept {
        return std::exchange(_inline_runs, other);
    }

    /// A failed future went unseen: counts it, and logs it with the place where it was made and a
    /// backtrace of the place where it went.
    void report_ignored(const std::exception_ptr& failure, origin made = {}) noexcept;

    static constexpr unsigned inline_limit = 16;
    static constexpr duration absence_min = std::chrono::milliseconds(100);
    static constexpr int checks_per_look = 32;
    static constexpr int checks_when_rung = 4;  ///< that one counts for when something waits

  private:
    friend class host;

    // The verbs of the turn, in its order.
    void read_clock();
    void reap();
    void drain();
    void expire();
    void run_tasks();
    void publish();
    instant submit();
    instant next_run() const;

    void run_one(task& next) noexcept;
    bool completions_wait() const noexcept {
        return (_completions_word->load(std::memory_order_relaxed) & _completions_mask) != 0;
    }
    bool look_at_clock(bool rung) noexcept;
    bool spin(instant until);
    bool arrived() const noexcept;
    void sleep(instant until);
    void set_spin(duration wanted) noexcept;

    // Read by need_preempt(): together.
    int _countdown = 1;
    int _checks_given = 1;  // what _countdown was set to
    unsigned _inline_runs = 0;
    volatile std::sig_atomic_t _hurried = 0;  // since the running task began
    task_context _context;
    std::uint32_t _completions_mask;
    const std::atomic<std::uint32_t>* _completions_word;

    host& _host;
    poller& _outside;
    const shard_id _id;
    const unsigned _shards;  // of the host
    const shard_options _options;
    instant _now;
    instant _expected;  // the next turn
    instant _charged;   // up to then this turn's time is somebody's
    std::atomic<const task*> _running = nullptr;
    std::atomic<std::uint8_t> _running_group = 0;
    weir::scheduler _scheduler;
    timer_heap _timers;
    block_pool _pool;
    mesh_port* _port = nullptr;  // set by the host before the first turn
    shard_counters _counters;
    instant _ignored_since = instant::min();  // a second, and the unseen failures told in it
    unsigned _ignored_told = 0;
    duration _spin{};  // how long the next spinning may last, 0: sleep at once
    std::unique_ptr<weir::metrics> _metrics;
    std::unique_ptr<logger> _log;
    std::unique_ptr<fiber_pool> _fibers;
    std::unique_ptr<shard_metrics> _own_metrics;  // goes before _metrics

    weir::bell _bell;  // its own line: others write it
};

namespace detail {
extern constinit thread_local shard* current_shard;
}  // namespace detail

/// The shard whose turn it is in this thread.
inline shard& this_shard() noexcept {
    return *detail::current_shard;
}
/// Whether this code runs on a shard at all.
inline bool on_a_shard() noexcept {
    return detail::current_shard != nullptr;
}
namespace detail {
inline constexpr shard_id no_shard = static_cast<shard_id>(-1);
/// This shard's number; no_shard for a thread that has none.
inline shard_id shard_id_here() noexcept {
    return on_a_shard() ? this_shard().id() : no_shard;
}
}  // namespace detail

/// Aborts, and names both shards: `what`, which belongs to shard `owner`, was used on this one.
/// name     which one of its kind; may be empty
[[noreturn, gnu::cold]] void wrong_shard(const char* what, const char* name,
                                         shard_id owner) noexcept;
namespace detail {
/// What is left of check_shard() where this is not the owner, or no shard at all.
[[gnu::cold]] void check_no_shard(const char* what, const char* name, shard_id owner) noexcept;
}  // namespace detail

/// Aborts if `owner`, the shard of what is used, is not this one. What was made by a thread without
/// a shard belongs to none.
/// cost     two loads and a comparison: in every build
inline void check_shard(shard_id owner, const char* what, const char* name = "") noexcept {
    if (!on_a_shard() || this_shard().id() != owner) [[unlikely]] {
        detail::check_no_shard(what, name, owner);
    }
}

/// See shard::need_preempt().
inline bool need_preempt() noexcept {
    return this_shard().need_preempt();
}

/// Makes `entered` this thread's shard for a scope: a thread's life, a simulated turn.
class shard_scope {
  public:
    explicit shard_scope(shard* entered) noexcept : _outer(detail::current_shard) {
        detail::current_shard = entered;
    }
    shard_scope(const shard_scope&) = delete;
    shard_scope& operator=(const shard_scope&) = delete;
    ~shard_scope() { detail::current_shard = _outer; }

  private:
    shard* _outer;
};

/// While it lives, tasks that are created are waited for by no call, as far as is known: what a
/// scope, a gate or a server is given. A call that one of them makes is of level 0, or of the level
/// that it would have without this: a handler may wait for it all the same.
class begins_anew {
  public:
    begins_anew() noexcept : begins_anew(this_shard().context().calls_above) {}
    explicit begins_anew(std::uint8_t calls_above) noexcept : _outer(this_shard().context()) {
        this_shard().set_context({_outer.group, 0, calls_above});
    }
    begins_anew(const begins_anew&) = delete;
    begins_anew& operator=(const begins_anew&) = delete;
    ~begins_anew() { this_shard().set_context(_outer); }

  private:
    const task_context _outer;
};

inline task::task() noexcept : _context(this_shard().context()) {}

}  // namespace weir
