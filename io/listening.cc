// SPDX-License-Identifier: Apache-2.0
#include <weir/io/listening.hh>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <new>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

namespace weir::io {

namespace {

constexpr int races_max = 100;

bool is_internet(const sockaddr_storage& address) noexcept {
    return address.ss_family == AF_INET || address.ss_family == AF_INET6;
}

/// returns  0 where there are no ports, too
in_port_t port_of(const sockaddr_storage& address) noexcept {
    static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
    return is_internet(address) ? reinterpret_cast<const sockaddr_in&>(address).sin_port : 0;
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
        (is_internet(address) && !set(fd, IPPROTO_TCP, TCP_NODELAY)) ||
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

listening_addresses::~listening_addresses() {
    for (const listener& each : _open) {
        ::close(each.fd);
    }
}

int listening_addresses::join(const op::listen& what, int first) noexcept {
    if (!set(first, SOL_SOCKET, SO_REUSEPORT)) {
        return -errno;
    }
    return try_listen(what, true).fd;
}

/// The host's first listener on that very address; two that take any port have not the same.
listening_addresses::listeners::iterator listening_addresses::find(
    const op::listen& what) noexcept {
    return std::ranges::find_if(_open, [&](const listener& each) {
        return each.length == what.address_length && port_of(each.address) != 0 &&
               std::memcmp(&each.address, what.address, each.length) == 0;
    });
}

int listening_addresses::listen(const op::listen& what) noexcept {
    listeners made;
    try {
        made.push_back({being_taken, *what.address, what.address_length});
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    const auto own = made.begin();
    std::unique_lock lock(_mutex);
    auto first = find(what);
    for (; first != _open.end() && first->fd == being_taken; first = find(what)) {
        _taken.wait(lock);
    }
    int fd = -1;
    if (first != _open.end()) {
        fd = join(what, first->fd);
    } else {
        _open.splice(_open.end(), made);
        lock.unlock();
        fd = listen_alone(what);
        lock.lock();
        made.splice(made.end(), _open, own);
        _taken.notify_all();
    }
    if (fd >= 0) {
        *own = {fd, *what.address, what.address_length};
        _open.splice(_open.end(), made);
    }
    return fd;
}

bool listening_addresses::close(int fd) noexcept {
    const std::lock_guard lock(_mutex);
    if (_open.remove_if([fd](const listener& each) { return each.fd == fd; }) == 0) {
        return false;
    }
    ::close(fd);
    return true;
}

}  // namespace weir::io
