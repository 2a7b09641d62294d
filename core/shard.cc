// SPDX-License-Identifier: Apache-2.0
#include <weir/core/shard.hh>

#include <algorithm>
#include <vector>

#include <weir/core/backtrace.hh>
#include <weir/core/fiber.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/mesh.hh>
#include <weir/core/metrics.hh>

namespace weir {

namespace detail {
constinit thread_local shard* current_shard = nullptr;
}  // namespace detail

/// What /metrics tells of a shard, read from the fields that the turn counts in anyway.
class shard::shard_metrics {
  public:
    explicit shard_metrics(shard& of) : _metrics(*of._metrics) {
        const shard_counters& counted = of._counters;
        count("weir_turns_total", "Turns taken.", counted.turns);
        count("weir_completions_total", "Completions taken from the kernel.", counted.completions);
        count("weir_parks_total", "Times the shard went to sleep.", counted.parks);
        count("weir_preemptions_total", "Slices that ended before the work.", counted.preemptions);
        count("weir_timers_expired_total", "Timers that fired.", counted.timers_expired);
        count("weir_failures_ignored_total", "Failed futures that nobody looked at.",
              counted.failures_ignored);
        gauge("weir_asleep_seconds", "Time asleep so far.",
              [&counted] { return std::chrono::duration<double>(counted.asleep).count(); });
        gauge("weir_absent_seconds", "Time that the shard was not there when a turn was due.",
              [&counted] { return std::chrono::duration<double>(counted.absent).count(); });
        gauge("weir_ready_tasks", "Tasks in line.",
              [&of] { return static_cast<double>(of._scheduler.ready_count()); });
        gauge("weir_armed_timers", "Timers armed.",
              [&of] { return static_cast<double>(of._timers.size()); });
        gauge("weir_pool_cached_bytes", "Free blocks that the shard keeps.",
              [&of] { return static_cast<double>(of._pool.counters().cached_bytes); });
        gauge("weir_pool_misses", "Blocks that came from the system allocator.",
              [&of] { return static_cast<double>(of._pool.counters().misses); });
        const fiber_counters& fibers = of._fibers->counters();
        count("weir_fibers_started_total", "Fibers started.", fibers.started);
        count("weir_fibers_refused_total", "Fibers that were one too many.", fibers.refused);
        gauge("weir_fibers", "Fibers that have not ended.",
              [&fibers] { return static_cast<double>(fibers.live); });
        gauge("weir_fiber_stacks", "Fiber stacks mapped.",
              [&fibers] { return static_cast<double>(fibers.stacks); });
        gauge("weir_fiber_stack_high_water_bytes", "The most of a stack that a fiber has used.",
              [&of] { return static_cast<double>(of._fibers->stack_high_water()); });
    }

  private:
    void count(const char* name, const char* help, const std::uint64_t& field) {
        _kept.push_back(_metrics.counter({name, help}, &field));
    }
    void gauge(const char* name, const char* help, std::function<double()> read) {
        _kept.push_back(_metrics.gauge({name, help}, std::move(read)));
    }
    weir::metrics& _metrics;
    std::vector<weir::metrics::registration> _kept;
};

shard::shard(host& owner, shard_id id, poller& outside, const shard_options& options)
    : _completions_mask(outside.completions_mask()),
      _completions_word(outside.completions_word()),
      _host(owner),
      _outside(outside),
      _id(id),
      _shards(owner.shard_count()),
      _options(options),
      _now(outside.now()),
      _expected(_now),
      _charged(_now),
      _scheduler(outside),
      _pool(options.pool_cache_bytes),
      _spin(options.spin_max),
      _metrics(std::make_unique<weir::metrics>()),
      _log(std::make_unique<logger>(owner.log_sink(), "shard", owner.options().logging)),
      _fibers(std::make_unique<fiber_pool>(_options)),
      _own_metrics(std::make_unique<shard_metrics>(*this)) {}

shard::~shard() = default;

// Why this order. The clock comes first, since timers, deadlines and the slice are measured from
// it. What the outside has finished comes before what peers ask, and both before the tasks, so
// that a task that waited runs in this very turn; our answers to peers don't wait for those tasks.
// Timers come after both: a reply that is there beats its deadline. The tasks run until the slice
// is over or something rings. Only then do our messages and later answers become visible, all
// with one bell a peer; and last the kernel gets everything that was prepared, wake-ups included,
// with one system call.
instant shard::turn() {
    read_clock();
    reap();
    drain();
    expire();
    run_tasks();
    publish();
    return _expected = submit();
}

void shard::read_clock() {
    ++_counters.turns;
    _charged = _now = _outside.now();
    if (_now - absence_min > _expected) [[unlikely]] {
        _counters.absent += _now - absence_min - _expected;
    }
    _outside.begin_slice();
    _countdown = _checks_given = 1;
}

void shard::reap() {
    _counters.completions += _outside.poll();
}

void shard::drain() {
    const std::uint64_t rung = _bell.answer();
    if (rung != 0 || _port->backlog()) {
        _charged = _port->drain(rung, _now + _options.drain_max);
        // With no tasks to run the end of the turn is near enough.
        if (!_scheduler.empty() && _port->publish()) {
            _outside.submit();
        }
    }
}

void shard::expire() {
    _counters.timers_expired += _timers.expire(_now);
}

void shard::run_tasks() {
    instant started = _charged;
    bool over = false;
    while (scheduler::group* group = over ? nullptr : _scheduler.next()) {
        do {
            run_one(_scheduler.take(*group));
        } while (!group->ready.empty() && !(over = need_preempt()));
        const instant stopped = _outside.now();
        _scheduler.charge(*group, stopped - started);
        started = stopped;
        if (!over && !_scheduler.empty()) {
            over = look_at_clock(_bell.rung() || completions_wait());
        }
    }
    _counters.preemptions += over;
    _running.store(nullptr, std::memory_order_relaxed);
    _context = {};
    _inline_runs = 0;
}

void shard::run_one(task& next) noexcept {
    _running.store(&next, std::memory_order_relaxed);
    _context = next.context();
    _running_group.store(_context.group.index, std::memory_order_relaxed);
    _inline_runs = 0;
    _hurried = 0;
    next.run();
}

void shard::publish() {
    _port->publish();
}

// Where sleep comes next it is left to park(), which hands over with the call that waits.
instant shard::submit() {
    if (_spin == duration::zero() && !_options.poll_forever) {
        if (const instant next = next_run(); next > _now) {
            _outside.submit_before_park();
            return next;
        }
    }
    _outside.submit();
    return next_run();
}

instant shard::next_run() const {
    if (!_scheduler.empty() || _port->backlog() || _bell.rung() || _outside.has_completions()) {
        return _now;
    }
    return _timers.next_due();
}

bool shard::look_at_clock(bool rung) noexcept {
    const bool over = _outside.preempt(rung);
    // The end of a slice is an answer for everyone: the task that asked, the turn, and who asks
    // next. An answer for one would let tasks that never stop by themselves take turns for ever.
    if (over) {
        _countdown = 0;
    } else {
        const int checks = std::max(_checks_given - std::max(_countdown, 0), 1);
        _countdown = _checks_given =
            static_cast<int>(_outside.next_look(static_cast<unsigned>(checks), checks_per_look));
    }
    return over;
}

void shard::park(instant until) {
    if (until <= _now || spin(until)) {
        return;
    }
    if (_bell.fall_asleep()) {
        sleep(until);
    } else {
        _outside.submit();
    }
}

// The next drain() answers the bell, which takes ASLEEP back. A bell that ended a sleep in less
// time than spinning may last says that spinning would have paid. A completion says no such thing:
// a device that takes that long is as well waited for asleep.
void shard::sleep(instant until) {
    ++_counters.parks;
    const instant asleep = _outside.now();
    _outside.park(until);
    const duration slept = _outside.now() - asleep;
    _counters.asleep += slept;
    if (_bell.rung() && slept < _options.spin_max) {
        set_spin(_options.spin_max);
    }
}

// Whether a bell or a completion ends spinning. All lines that the turn will want from a peer's
// cache are asked for at once, instead of one after the other as the turn comes to them.
bool shard::arrived() const noexcept {
    if (const std::uint64_t rung = _bell.peek()) {
        _bell.prefetch();
        _port->prefetch(rung);
        return true;
    }
    return completions_wait();
}

// An idle shard spins a little before it sleeps: waking costs far more than a message. Spinning
// that was in vain halves the next, down to none; spinning that paid doubles it, within spin_max.
bool shard::spin(instant until) {
    if (_options.poll_forever) {
        // Looking is quicker than a turn; but only a turn sees everything.
        for (int i = 0; i < 16 && !arrived(); ++i) {
            __builtin_ia32_pause();
        }
        return true;
    }
    if (_spin == duration::zero()) {
        return false;
    }
    const instant end = std::min(until, _outside.now() + _spin);
    do {
        for (int i = 0; i < 16; ++i) {
            if (arrived()) {
                set_spin(_spin > _options.spin_max / 2 ? _options.spin_max : _spin * 2);
                return true;
            }
            __builtin_ia32_pause();
        }
        if (_outside.has_completions()) {
            set_spin(_spin > _options.spin_max / 2 ? _options.spin_max : _spin * 2);
            return true;
        }
    } while (_outside.now() < end);
    set_spin(_spin / 2);
    return false;
}

void shard::set_spin(duration wanted) noexcept {
    constexpr duration least = std::chrono::microseconds(1);
    _spin = wanted < least ? duration::zero() : std::min(wanted, _options.spin_max);
}

weir::log_context shard::log_context() const noexcept {
    return {wall_now(), _id};
}

// Names cost milliseconds: beyond what the log's limit lets pass they would go nowhere.
void shard::report_ignored(const std::exception_ptr& failure, origin made) noexcept {
    constexpr unsigned told_a_second = 20;
    ++_counters.failures_ignored;
    if (_now >= _ignored_since + std::chrono::seconds(1)) {
        _ignored_since = _now;
        _ignored_told = 0;
    }
    if (!_log->enabled(log_level::warning) || _ignored_told++ >= told_a_second) {
        return;
    }
    try {
        _log->write(log_context(), log_level::warning, "failure ignored",
                    {{"cause", what_of(failure)},
                     {"made", made.text()},
                     {"backtrace", backtrace::here(1).text()}});
    } catch (...) {  // no memory for the text
        _log->write(log_context(), log_level::warning, "failure ignored");
    }
}

}  // namespace weir
