// SPDX-License-Identifier: Apache-2.0
#include <weir/io/listening.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include <netinet/in.h>  // IWYU pragma: keep (IPPROTO_TCP)
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

namespace weir::io {

namespace {

constexpr int races_max = 100;

bool is_internet(const op::listen& what) noexcept {
    return what.address->ss_family == AF_INET || what.address->ss_family == AF_INET6;
}

bool set(int fd, int level, int option) noexcept {
    const int on = 1;
    return setsockopt(fd, level, option, &on, sizeof on) == 0;
}

/// What listen() came to.
struct outcome {
    int fd;                  // or -errno
    bool lost_race = false;  // somebody else began to listen between our bind and our listen
};

outcome failed(int fd, bool in_listen) noexcept {
    const int cause = errno;
    ::close(fd);
    return {-cause, in_listen && cause == EADDRINUSE};
}

/// share  joins those that have the address with SO_REUSEPORT
outcome try_listen(const op::listen& what, bool share) noexcept {
    sockaddr_storage address = *what.address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    const int fd = ::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return {-errno};
    }
    // Without SO_REUSEADDR the last process's dying connections would keep the address from the
    // next one. What is accepted inherits TCP_NODELAY.
    if (!set(fd, SOL_SOCKET, SO_REUSEADDR) || (share && !set(fd, SOL_SOCKET, SO_REUSEPORT)) ||
        (is_internet(what) && !set(fd, IPPROTO_TCP, TCP_NODELAY)) ||
        ::bind(fd, raw, what.address_length) != 0) {
        return failed(fd, false);
    }
    if (::listen(fd, what.backlog) != 0) {
        return failed(fd, true);
    }
    socklen_t length = sizeof address;
    if (getsockname(fd, raw, &length) != 0) {
        return failed(fd, false);
    }
    *what.address = address;
    return {fd};
}

/// SO_REUSEADDR lets several bind that do not listen yet, and of those that then listen at one
/// instant the kernel may refuse all. So whoever was refused so late tries again: once anybody
/// listens, already its bind is refused.
int listen_alone(const op::listen& what) noexcept {
    outcome last{-EADDRINUSE, true};
    for (int race = 0; race < races_max && last.lost_race; ++race) {
        if (race != 0) {
            // Not in step with the others.
            const long mixed = (long{getpid()} * 7919 + long{race} * 104'729) % 200'000;
            const timespec pause{.tv_sec = 0, .tv_nsec = 1'000 + mixed};
            nanosleep(&pause, nullptr);
        }
        last = try_listen(what, false);
    }
    return last.fd;
}

}  // namespace

int listening_addresses::join(const op::listen& what, int first) noexcept {
    if (!set(first, SOL_SOCKET, SO_REUSEPORT)) {
        return -errno;
    }
    return try_listen(what, true).fd;
}

int listening_addresses::listen(const op::listen& what) noexcept {
    const std::lock_guard lock(_mutex);
    try {
        _open.reserve(_open.size() + 1);
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    const auto same = std::ranges::find_if(_open, [&](const listener& each) {
        return each.length == what.address_length &&
               std::memcmp(&each.address, what.address, each.length) == 0;
    });
    const int fd = same != _open.end() ? join(what, same->fd) : listen_alone(what);
    if (fd >= 0) {
        _open.push_back({fd, *what.address, what.address_length});
    }
    return fd;
}

bool listening_addresses::close(int fd) noexcept {
    const std::lock_guard lock(_mutex);
    if (std::erase_if(_open, [fd](const listener& each) { return each.fd == fd; }) == 0) {
        return false;
    }
    ::close(fd);
    return true;
}

}  // namespace weir::io
