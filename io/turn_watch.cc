// SPDX-License-Identifier: Apache-2.0
#include <weir/io/turn_watch.hh>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/core/backtrace.hh>
#include <weir/core/error.hh>
#include <weir/io/crash_report.hh>
#include <weir/io/remedy.hh>
#include <weir/io/system_clock.hh>

namespace weir::io {

namespace {

/// Looks without a turn after which the watch sleeps until there is one.
constexpr unsigned looks_in_vain = 20;

/// Where a thread waits.
struct waiting_thread {
    long call = -1;  // number of the system call; none: in a page fault
    std::uintptr_t stack = 0;
};

std::string first_line(const std::string& path) {
    std::array<char, 256> text{};
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    const ssize_t count = file >= 0 ? ::read(file, text.data(), text.size() - 1) : 0;
    if (file >= 0) {
        ::close(file);
    }
    std::string line(text.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    return line.substr(0, line.find('\n'));
}

/// returns  nothing for a thread that runs, or would if it had a processor
std::optional<waiting_thread> where_waits(const std::string& thread) {
    const std::string line = first_line(thread + "/syscall");
    waiting_thread found;
    unsigned long stack = 0, code = 0;
    if (std::sscanf(line.c_str(), "%ld %*s %*s %*s %*s %*s %*s %lx %lx", &found.call, &stack,
                    &code) != 3 &&
        std::sscanf(line.c_str(), "%ld %lx %lx", &found.call, &stack, &code) != 3) {
        return std::nullopt;
    }
    found.stack = stack;
    return found;
}

std::string name_of_call(long number) {
    struct named {
        long number;
        const char* name;
    };
    static constexpr named known[] = {
        {SYS_read, "read"},
        {SYS_write, "write"},
        {SYS_pread64, "pread64"},
        {SYS_pwrite64, "pwrite64"},
        {SYS_readv, "readv"},
        {SYS_writev, "writev"},
        {SYS_openat, "openat"},
        {SYS_close, "close"},
        {SYS_fsync, "fsync"},
        {SYS_fdatasync, "fdatasync"},
        {SYS_sync, "sync"},
        {SYS_ftruncate, "ftruncate"},
        {SYS_fallocate, "fallocate"},
        {SYS_flock, "flock"},
        {SYS_fcntl, "fcntl"},
        {SYS_ioctl, "ioctl"},
        {SYS_renameat2, "renameat2"},
        {SYS_unlinkat, "unlinkat"},
        {SYS_getdents64, "getdents64"},
        {SYS_statx, "statx"},
        {SYS_sendto, "sendto"},
        {SYS_recvfrom, "recvfrom"},
        {SYS_sendmsg, "sendmsg"},
        {SYS_recvmsg, "recvmsg"},
        {SYS_connect, "connect"},
        {SYS_accept, "accept"},
        {SYS_accept4, "accept4"},
        {SYS_ppoll, "ppoll"},
        {SYS_epoll_pwait, "epoll_pwait"},
        {SYS_futex, "futex"},
        {SYS_nanosleep, "nanosleep"},
        {SYS_clock_nanosleep, "clock_nanosleep"},
        {SYS_wait4, "wait4"},
        {SYS_mmap, "mmap"},
        {SYS_munmap, "munmap"},
        {SYS_madvise, "madvise"},
        {SYS_io_uring_enter, "io_uring_enter"},
#ifdef SYS_poll
        {SYS_poll, "poll"},
        {SYS_select, "select"},
        {SYS_open, "open"},
        {SYS_pause, "pause"},
#endif
    };
    if (number < 0) {
        return "none, in a page fault";
    }
    const auto* const place =
        std::find_if(std::begin(known), std::end(known),
                     [number](const named& each) { return each.number == number; });
    return place != std::end(known) ? place->name : "number " + std::to_string(number);
}

/// Whether what lies before `code` is a call: then it is where one returns to.
bool follows_a_call(const void* code) noexcept {
#if defined(__x86_64__)
    std::array<std::uint8_t, 7> bytes{};
    if (!read_own_memory(static_cast<const char*>(code) - bytes.size(), bytes.data(),
                         bytes.size())) {
        return false;
    }
    // call relative, 5 bytes long; or call through a register or memory, 2 to 7.
    const auto indirect = [&bytes](std::size_t length) {
        return bytes[7 - length] == 0xff && (bytes[8 - length] & 0x38U) == 0x10;
    };
    return bytes[2] == 0xe8 || indirect(2) || indirect(3) || indirect(6) || indirect(7);
#else
    return code != nullptr;
#endif
}

const void* word_at(std::uintptr_t stack, std::size_t word) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): a register told it
    return reinterpret_cast<const void*>(stack + word * sizeof(void*));
}

/// The calls of a thread that waits: all that looks like a place of return on its stack. It may
/// name some that have returned.
backtrace calls_on_stack(std::uintptr_t stack) {
    constexpr std::size_t words = 2048;
    constexpr std::size_t page_words = 512;
    std::vector<void*> read(words);
    std::size_t there = 0;
    // The end of the stack may come before the end of what we ask for.
    while (there < words &&
           read_own_memory(word_at(stack, there), static_cast<void*>(read.data() + there),
                           page_words * 8)) {
        there += page_words;
    }
    std::vector<void*> found;
    for (std::size_t i = 0; i < there && found.size() < backtrace::frames_max; ++i) {
        if (is_code(read[i]) && follows_a_call(read[i])) {
            found.push_back(read[i]);
        }
    }
    return backtrace::of(found);
}

std::int64_t milliseconds(duration time) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace

turn_watch::turn_watch(host& owner, duration threshold)
    : _threshold(threshold),
      _log(owner.log_sink(), "turns", owner.options().logging),
      _event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (_event < 0) {
        throw error::from_errno("create", with_remedy("eventfd", errno), errno);
    }
    // Signals are for the process's own threads.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        _thread = std::thread([this] { look_until_end(); });
    } catch (const std::system_error& cause) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        ::close(_event);
        throw error("start", with_remedy("thread that watches turns", cause.code().value()),
                    cause.code());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

turn_watch::~turn_watch() {
    WEIR_ASSERT(_seats.empty());
    _ended.store(true, std::memory_order_relaxed);
    wake();
    _thread.join();
    ::close(_event);
}

void turn_watch::wake() noexcept {
    _asleep.store(false, std::memory_order_relaxed);
    (void)eventfd_write(_event, 1);
}

void turn_watch::look_until_end() noexcept {
    pthread_setname_np(pthread_self(), "weir-watch");
    const int interval =
        static_cast<int>(std::clamp<std::int64_t>(milliseconds(_threshold) / 2, 1, 60'000));
    unsigned in_vain = 0;
    while (!_ended.load(std::memory_order_relaxed)) {
        // It is said one look before it is done. A turn that began in that moment and did not see
        // it yet is seen by that look, an interval later, and nobody sleeps; one that begins after
        // it sees it and wakes us. So relaxed does: no shard has to wait for its own store.
        _asleep.store(in_vain >= looks_in_vain, std::memory_order_relaxed);
        const bool sleeps = in_vain > looks_in_vain;
        pollfd woken{_event, POLLIN, 0};
        eventfd_t count = 0;
        if (::poll(&woken, 1, sleeps ? -1 : interval) > 0) {
            (void)eventfd_read(_event, &count);
            in_vain = 0;
        }
        const std::lock_guard hold(_lock);
        bool turned = false;
        for (seat* each : _seats) {
            turned = look(*each) || turned;
        }
        in_vain = turned ? 0 : in_vain + 1;
    }
}

/// returns  whether it has turned since the last look, or turns
bool turn_watch::look(seat& at) noexcept {
    const std::uint64_t count = at._count.load(std::memory_order_relaxed);
    const instant now = monotonic_now();
    if (count != at._seen) {
        at._seen = count;
        at._since = now;
        at._seen_told = false;
        return true;
    }
    const bool turns = count % 2 == 1;
    if (turns && !at._seen_told && now - at._since >= _threshold) {
        try {
            tell(at, now - at._since);
        } catch (const std::exception&) {  // no memory for the text
        }
    }
    return turns;
}

// What is read of the shard may change meanwhile: it may come back from its call at any moment.
void turn_watch::tell(seat& at, duration waited) {
    const std::string thread = "/proc/self/task/" + std::to_string(at._thread);
    const auto where = where_waits(thread);
    if (!where) {
        return;  // it uses the processor, or waits for it: stall_watch tells of the former
    }
    std::array<char, 512> task{};
    describe_task(at._watched.running(), task);
    const std::string calls = calls_on_stack(where->stack).text();
    const std::string waits_in = first_line(thread + "/wchan");
    if (at._count.load(std::memory_order_relaxed) != at._seen) {
        return;  // it has come back: what we read is of something else
    }
    at._seen_told = true;
    at._told.store(at._seen, std::memory_order_relaxed);
    _log.write({wall_clock_now(), at._watched.id()}, log_level::warning,
               "a turn waits in the kernel",
               {{"ms_at_least", milliseconds(waited)},
                {"group", at._watched.scheduler().name(at._watched.running_group())},
                {"system_call", name_of_call(where->call)},
                {"waits_in", waits_in},
                {"task", demangled(task.data())},
                {"backtrace", calls}});
}

turn_watch::seat::seat(turn_watch& watch, shard& watched)
    : _watch(watch),
      _watched(watched),
      _thread(::gettid()),
      _metric(watched.metrics().counter(
          {"weir_turn_waits_total", "Turns that were seen to sleep in the kernel."}, &_waits)) {
    const std::lock_guard hold(_watch._lock);
    _watch._seats.push_back(this);
}

turn_watch::seat::~seat() {
    const std::lock_guard hold(_watch._lock);
    std::erase(_watch._seats, this);
}

/// turn     that ends now: the one that was told of, or one after it if that ended meanwhile
void turn_watch::seat::report_end(std::uint64_t turn) noexcept {
    _told_before = _told.load(std::memory_order_relaxed);
    ++_waits;
    if (turn != _told_before) {
        return;
    }
    _watched.log().write(_watched.log_context(), log_level::warning,
                         "the turn that waited in the kernel has ended",
                         {{"ms", milliseconds(_watched.outside().now() - _watched.now())}});
}

}  // namespace weir::io
