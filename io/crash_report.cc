// SPDX-License-Identifier: Apache-2.0
#include <weir/io/crash_report.hh>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <weir/core/backtrace.hh>
#include <weir/core/fiber.hh>
#include <weir/core/scheduler.hh>
#include <weir/core/shard.hh>

namespace weir::io {

namespace {

constexpr std::size_t stack_bytes = 128 * 1024;
constexpr std::array crashing{SIGSEGV, SIGBUS, SIGILL, SIGFPE};

// A handler has no argument to hang this from: who had the signals before us.
constinit std::array<struct sigaction, crashing.size()> before{};

struct sigaction& action_before(int signal) noexcept {
    return before[static_cast<std::size_t>(std::find(crashing.begin(), crashing.end(), signal) -
                                           crashing.begin())];
}

void say(const char* text, int length) noexcept {
    (void)!::write(STDERR_FILENO, text, static_cast<std::size_t>(std::max(length, 0)));
}

std::uintptr_t stack_pointer_of(const void* context) noexcept {
    const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return static_cast<std::uintptr_t>(machine.gregs[REG_RSP]);
#else
    return machine.sp;
#endif
}

// Who calls, or makes a large frame, with no room left touches what lies at or below its pointer.
bool stack_overflowed(const siginfo_t& about, const void* context) noexcept {
    constexpr std::uintptr_t above = 4096;
    constexpr std::uintptr_t below = 1 << 20;
    const auto touched = reinterpret_cast<std::uintptr_t>(about.si_addr);
    const std::uintptr_t pointer = stack_pointer_of(context);
    return (about.si_signo == SIGSEGV || about.si_signo == SIGBUS) && about.si_code > 0 &&
           touched + below > pointer && touched < pointer + above;
}

// What needs least comes first: what lies behind it may be damaged, and a fault in here is the end.
void report(int signal, const siginfo_t& about, const void* context) noexcept {
    char line[1024];
    const bool here = on_a_shard();
    const bool in_a_fiber = here && this_shard().fibers().current() != nullptr;
    int length = std::snprintf(line, sizeof line, "weir: SIG%s", sigabbrev_np(signal));
    if (about.si_code > 0) {
        length += std::snprintf(line + length, sizeof line - static_cast<std::size_t>(length),
                                " at %p", about.si_addr);
    }
    if (here) {
        length +=
            std::snprintf(line + length, sizeof line - static_cast<std::size_t>(length),
                          ": shard %u, group %.200s%s", static_cast<unsigned>(this_shard().id()),
                          this_shard().scheduler().name(this_shard().running_group()).c_str(),
                          in_a_fiber ? ", in a fiber" : "");
    } else {
        length += std::snprintf(line + length, sizeof line - static_cast<std::size_t>(length),
                                ": no shard, thread %d", ::gettid());
    }
    length += std::snprintf(line + length, sizeof line - static_cast<std::size_t>(length), "%s\n",
                            stack_overflowed(about, context) ? ": the stack overflowed" : "");
    say(line, length);
    backtrace::here(2).write(STDERR_FILENO);
    if (here) {
        char task[512];
        describe_task(this_shard().running(), task);
        say(line, std::snprintf(line, sizeof line, "weir: the task: %s\n", task));
    }
}

void on_crash(int signal, siginfo_t* about, void* context) {
    report(signal, *about, context);
    const struct sigaction& next = action_before(signal);
    if ((next.sa_flags & SA_SIGINFO) != 0) {
        next.sa_sigaction(signal, about, context);
    } else if (next.sa_handler != SIG_DFL && next.sa_handler != SIG_IGN) {
        next.sa_handler(signal);
    } else {
        // What crashed does so again, now with nobody to hear it; what somebody sent is sent again.
        ::sigaction(signal, &next, nullptr);
        if (about->si_code <= 0) {
            ::raise(signal);
        }
    }
}

bool is_ours(const struct sigaction& action) noexcept {
    return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == &on_crash;
}

}  // namespace

crash_reports::crash_reports() {
    backtrace::warm_up();
    struct sigaction now{};
    ::sigaction(crashing.front(), nullptr, &now);
    if (is_ours(now)) {
        return;
    }
    _installed = true;
    struct sigaction action{};
    action.sa_sigaction = &on_crash;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (const int signal : crashing) {
        ::sigaction(signal, &action, &action_before(signal));
    }
}

crash_reports::~crash_reports() {
    for (const int signal : crashing) {
        struct sigaction now{};
        ::sigaction(signal, nullptr, &now);
        if (_installed && is_ours(now)) {
            ::sigaction(signal, &action_before(signal), nullptr);
        }
    }
}

signal_stack::signal_stack() noexcept {
    stack_t now{};
    if (::sigaltstack(nullptr, &now) != 0 || (now.ss_flags & SS_DISABLE) == 0) {
        return;  // it has one
    }
    void* const memory = ::mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    const stack_t own{.ss_sp = memory, .ss_flags = 0, .ss_size = stack_bytes};
    if (::sigaltstack(&own, nullptr) != 0) {
        ::munmap(memory, stack_bytes);
        return;
    }
    _memory = memory;
}

signal_stack::~signal_stack() {
    if (_memory != nullptr) {
        const stack_t none{.ss_sp = nullptr, .ss_flags = SS_DISABLE, .ss_size = 0};
        ::sigaltstack(&none, nullptr);
        ::munmap(_memory, stack_bytes);
    }
}

// A task begins with the address of its class's table of virtual functions. One that is a coroutine
// lies in the coroutine's frame, behind the addresses of two functions, of which the first is the
// coroutine itself.
void describe_task(const task* which, std::span<char> text) noexcept {
    const auto put = [text](const char* said) {
        std::snprintf(text.data(), text.size(), "%s", said);
    };
    const void* table = nullptr;
    if (which == nullptr || !read_own_memory(which, static_cast<void*>(&table), sizeof table)) {
        put(which == nullptr ? "none" : "gone");
        return;
    }
    symbol found = symbol_of(table);
    if (std::strstr(found.name.data(), "coroutine_promise") != nullptr) {
        const void* function = nullptr;
        const char* const frame = reinterpret_cast<const char*>(which) - 2 * sizeof(void*);
        if (read_own_memory(frame, static_cast<void*>(&function), sizeof function) &&
            is_code(function)) {
            found = symbol_of(function);
        }
    }
    put(found.name[0] != '\0' ? found.name.data() : "gone");
}

}  // namespace weir::io
