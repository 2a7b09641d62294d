// SPDX-License-Identifier: Apache-2.0
#include <weir/io/stop_signals.hh>

#include <cerrno>
#include <cstdint>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>

namespace weir::io {

namespace {

sigset_t stopping() noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

}  // namespace

stop_signals::stop_signals() {
    const sigset_t set = stopping();
    _signals = signalfd(-1, &set, SFD_CLOEXEC);
    _event = eventfd(0, EFD_CLOEXEC);
    if (_signals < 0 || _event < 0) {
        throw error::from_errno("create", "descriptor for signals", errno);
    }
    pthread_sigmask(SIG_BLOCK, &set, &_before);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &_pipe_before);
}

stop_signals::~stop_signals() {
    ::close(_signals);
    ::close(_event);
    sigaction(SIGPIPE, &_pipe_before, nullptr);
    pthread_sigmask(SIG_SETMASK, &_before, nullptr);
}

void stop_signals::wait(const std::function<void()>& stop) {
    bool ready = false, asked = false;
    for (;;) {
        // Before ready() a signal waits in its descriptor.
        pollfd watched[] = {{_event, POLLIN, 0}, {_signals, POLLIN, 0}};
        if (::poll(watched, ready ? 2 : 1, -1) < 0) {
            WEIR_ASSERT(errno == EINTR);
            continue;
        }
        if ((watched[0].revents & POLLIN) != 0) {
            std::uint64_t said = 0;
            WEIR_ASSERT(eventfd_read(_event, &said) == 0);
            if (said >= is_ended) {
                return;
            }
            ready = true;
        }
        if ((watched[1].revents & POLLIN) == 0) {
            continue;
        }
        signalfd_siginfo taken;
        if (read(_signals, &taken, sizeof taken) != sizeof taken) {
            continue;
        }
        if (asked) {
            const sigset_t set = stopping();
            pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
            kill(getpid(), static_cast<int>(taken.ssi_signo));
        }
        asked = true;
        stop();
    }
}

void stop_signals::ready() noexcept {
    WEIR_ASSERT(eventfd_write(_event, is_ready) == 0);
}

void stop_signals::end() noexcept {
    WEIR_ASSERT(eventfd_write(_event, is_ended) == 0);
}

}  // namespace weir::io
