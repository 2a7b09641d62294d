// SPDX-License-Identifier: Apache-2.0
#include <weir/io/stall.hh>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include <sys/syscall.h>
#include <unistd.h>

#include <weir/core/error.hh>
#include <weir/core/log.hh>
#include <weir/io/crash_report.hh>
#include <weir/io/remedy.hh>
#include <weir/io/system_clock.hh>

namespace weir::io {

namespace {

/// Frames of the handler and of the signal's return, before those of the turn.
constexpr std::size_t own_frames = 3;

timespec timespec_of(duration time) noexcept {
    return {.tv_sec = time.count() / 1'000'000'000, .tv_nsec = time.count() % 1'000'000'000};
}

}  // namespace

stall_watch::stall_watch(shard& watched, const stall_options& options)
    : _watched(watched),
      _threshold(options.threshold),
      _last_cpu(thread_cpu_time()),
      _last_look(monotonic_now()) {
    backtrace::warm_up();
    struct sigaction action{};
    action.sa_sigaction = &stall_watch::on_signal;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGRTMIN;
    event.sigev_value.sival_ptr = this;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    if (sigaction(SIGRTMIN, &action, nullptr) != 0 ||
        timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &_timer) != 0) {
        throw error::from_errno("create", with_remedy("timer for stalls", errno), errno);
    }
    const itimerspec every{timespec_of(options.interval), timespec_of(options.interval)};
    timer_settime(_timer, 0, &every, nullptr);
    _metric = watched.metrics().counter(
        {"weir_stalls_total", "Turns that took more processor time than the threshold."}, &_stalls);
}

stall_watch::~stall_watch() {
    // A signal that is on its way would find no watch: let it come first.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigset_t before;
    pthread_sigmask(SIG_BLOCK, &set, &before);
    timer_delete(_timer);
    const timespec at_once{};
    while (sigtimedwait(&set, nullptr, &at_once) > 0) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void stall_watch::on_signal(int, siginfo_t* about, void*) {
    const int cause = errno;
    if (about->si_code == SI_TIMER) {
        static_cast<stall_watch*>(about->si_value.sival_ptr)->look();
    }
    errno = cause;
}

// Looks come when the kernel accounts for processor time, on a busy machine seldom: a turn may have
// begun since the last one. What was used since then, less all the time before the turn began, is
// the turn's at least.
void stall_watch::look() noexcept {
    const duration cpu = thread_cpu_time();
    const instant now = monotonic_now();
    const duration used = cpu - _last_cpu;
    _watched.hurry();
    const std::uint64_t turn = _watched.counters().turns;
    if (turn != _turn) {
        _turn = turn;
        _turn_caught = false;
        _used = std::max(duration::zero(), used - (_watched.now() - _last_look));
    } else {
        _used += used;
    }
    _last_cpu = cpu;
    _last_look = now;
    // One report a turn, from where it was first seen to take too long.
    if (_used >= _threshold && !_turn_caught && !_caught) {
        _turn_caught = true;
        _reported = _used;
        _group = _watched.context().group;
        describe_task(_watched.running(), _task);
        _calls = backtrace::here(own_frames);
        _caught = 1;
    }
}

void stall_watch::write_report() {
    // Pairs with the handler, which runs in this thread: it takes no other report meanwhile.
    std::atomic_signal_fence(std::memory_order_acquire);
    ++_stalls;
    try {
        _watched.log().write(
            _watched.log_context(), log_level::warning, "a turn took too long",
            {{"cpu_ms_at_least",
              std::chrono::duration_cast<std::chrono::milliseconds>(_reported).count()},
             {"group", _watched.scheduler().name(_group)},
             {"task", demangled(_task.data())},
             {"backtrace", _calls.text()}});
    } catch (const std::exception&) {  // no memory for the text
    }
    // Pairs with the handler's look at _caught: it must not write what is still being read.
    std::atomic_signal_fence(std::memory_order_release);
    _caught = 0;
}

}  // namespace weir::io
