// SPDX-License-Identifier: Apache-2.0
#include <weir/io/stop_signals.hh>

#include <cerrno>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/io/remedy.hh>

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
    _signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    _event = eventfd(0, EFD_CLOEXEC);
    if (_signals < 0 || _event < 0) {
        const int cause = errno;
        ::close(_signals);
        ::close(_event);
        throw error::from_errno("create", with_remedy("descriptor for signals", cause), cause);
    }
    pthread_sigmask(SIG_BLOCK, &set, &_before);
    struct sigaction ignore{};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &ignore, &_pipe_before);
}

// What came while nobody read any more asked for an end that has come.
stop_signals::~stop_signals() {
    signalfd_siginfo taken;
    while (::read(_signals, &taken, sizeof taken) == sizeof taken) {
    }
    ::close(_signals);
    ::close(_event);
    sigaction(SIGPIPE, &_pipe_before, nullptr);
    pthread_sigmask(SIG_SETMASK, &_before, nullptr);
}

void stop_signals::wait(const std::function<void(int)>& stop) {
    bool asked = false;
    for (;;) {
        pollfd watched[] = {{_event, POLLIN, 0}, {_signals, POLLIN, 0}};
        if (::poll(watched, 2, -1) < 0) {
            WEIR_ASSERT(errno == EINTR);
            continue;
        }
        // A signal that came before the end is heard before it.
        if ((watched[1].revents & POLLIN) == 0) {
            if ((watched[0].revents & POLLIN) != 0) {
                return;
            }
            continue;
        }
        signalfd_siginfo taken;
        if (read(_signals, &taken, sizeof taken) != sizeof taken) {
            continue;
        }
        const int signal = static_cast<int>(taken.ssi_signo);
        stop(signal);
        if (std::exchange(asked, true)) {
            const sigset_t set = stopping();
            pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
            kill(getpid(), signal);
        }
    }
}

void stop_signals::end() noexcept {
    WEIR_ASSERT(eventfd_write(_event, 1) == 0);
}

}  // namespace weir::io
