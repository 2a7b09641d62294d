// SPDX-License-Identifier: Apache-2.0
#include <weir/io/uring_filler.hh>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <string_view>
#include <variant>

#include <dirent.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>  // IWYU pragma: keep (IPPROTO_TCP)
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/io/uring_constants.hh>

namespace weir::io {

namespace {

constexpr mode_t file_mode = 0644;
constexpr mode_t directory_mode = 0755;

int open_flags(const op::open& what) noexcept {
    int flags = O_CLOEXEC;
    switch (what.mode) {
        case op::access::read:
            flags |= O_RDONLY;
            break;
        case op::access::write:
            flags |= O_WRONLY;
            break;
        case op::access::read_write:
            flags |= O_RDWR;
            break;
    }
    return flags | (what.create ? O_CREAT : 0) | (what.exclusive ? O_EXCL : 0) |
           (what.truncate ? O_TRUNC : 0) | (what.direct ? O_DIRECT : 0) |
           (what.data_sync ? O_DSYNC : 0) | (what.directory ? O_DIRECTORY : 0);
}

/// The kernel takes no more parts in one call; the rest makes the operation short.
unsigned parts(std::uint32_t count) noexcept {
    return std::min<unsigned>(count, IOV_MAX);
}

std::size_t total(const iovec* vector, unsigned count) noexcept {
    std::size_t bytes = 0;
    for (unsigned i = 0; i < count; ++i) {
        bytes += vector[i].iov_len;
    }
    return bytes;
}

/// One iovec needs no vector.
unsigned single_length(const iovec& part) noexcept {
    return static_cast<unsigned>(std::min<std::size_t>(part.iov_len, INT_MAX));
}

bool is_socket(int fd) noexcept {
    int type;
    socklen_t length = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
}

constexpr auto own_position = static_cast<std::uint64_t>(-1);

/// Fills the entry for each kind of operation.
struct filler {
    io_uring_sqe* entry;
    operation_state& state;
    kernel_ring& ring;
    unsigned zero_copy_bytes;

    void operator()(const op::nop&) { io_uring_prep_nop(entry); }

    void operator()(const op::open& what) {
        if (state.opens_again && state.value >= 0) {
            io_uring_prep_poll_add(entry, static_cast<int>(state.value), POLLIN);
            return;
        }
        io_uring_prep_openat(entry, AT_FDCWD, what.path, open_flags(what), file_mode);
        if (state.opens_again) {
            io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
        }
    }

    void operator()(const op::close& what) {
        if (what.reset) {
            // Else a peer that takes nothing would keep zero-copied memory for minutes.
            const linger no_time{.l_onoff = 1, .l_linger = 0};
            setsockopt(what.fd, SOL_SOCKET, SO_LINGER, &no_time, sizeof no_time);
        }
        io_uring_prep_close(entry, what.fd);
        if (!is_socket(what.fd)) {
            // The last close of a removed file frees its blocks, which may take long.
            io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
        }
    }

    void operator()(const op::stat& what) {
        io_uring_prep_statx(entry, what.path != nullptr ? AT_FDCWD : what.fd,
                            what.path != nullptr ? what.path : "",
                            what.path != nullptr ? 0 : AT_EMPTY_PATH,
                            STATX_TYPE | STATX_SIZE | statx_direct_alignment,
                            // NOLINTNEXTLINE(performance-no-int-to-ptr): launch() put it there
                            reinterpret_cast<struct ::statx*>(state.value));
    }

    void operator()(const op::read& what) {
        if (what.vector_count == 1) {
            io_uring_prep_read(entry, what.fd, what.vector->iov_base, single_length(*what.vector),
                               what.offset);
        } else {
            io_uring_prep_readv(entry, what.fd, what.vector, parts(what.vector_count), what.offset);
        }
    }

    void operator()(const op::write& what) {
        if (what.vector_count == 1) {
            io_uring_prep_write(entry, what.fd, what.vector->iov_base, single_length(*what.vector),
                                what.offset);
        } else {
            io_uring_prep_writev(entry, what.fd, what.vector, parts(what.vector_count),
                                 what.offset);
        }
    }

    void operator()(const op::sync& what) {
        io_uring_prep_fsync(entry, what.fd, what.metadata ? 0 : IORING_FSYNC_DATASYNC);
    }

    void operator()(const op::allocate& what) {
        io_uring_prep_fallocate(entry, what.fd, 0, static_cast<off_t>(what.offset),
                                static_cast<off_t>(what.length));
    }

    void operator()(const op::truncate& what) {
        io_uring_prep_rw(opcode_ftruncate, entry, what.fd, nullptr, 0, what.size);
    }

    void operator()(const op::rename& what) {
        io_uring_prep_rename(entry, what.from, what.to);
        entry->len = static_cast<unsigned>(AT_FDCWD);
    }

    void operator()(const op::unlink& what) {
        io_uring_prep_unlinkat(entry, AT_FDCWD, what.path, what.directory ? AT_REMOVEDIR : 0);
    }

    void operator()(const op::make_directory& what) {
        io_uring_prep_mkdirat(entry, AT_FDCWD, what.path, directory_mode);
    }

    void operator()(const op::accept& what) {
        if (ring.has().multishot_accept) {
            io_uring_prep_multishot_accept(entry, what.fd, nullptr, nullptr, SOCK_CLOEXEC);
        } else {
            io_uring_prep_accept(entry, what.fd, nullptr, nullptr, SOCK_CLOEXEC);
        }
    }

    void operator()(const op::connect& what) {
        io_uring_prep_connect(entry, static_cast<int>(state.value),
                              reinterpret_cast<const sockaddr*>(what.address), what.address_length);
    }

    void operator()(const op::receive& what) {
        io_uring_prep_recv(entry, what.fd, nullptr, 0, 0);
        if (ring.has().multishot_receive) {
            entry->ioprio |= IORING_RECV_MULTISHOT;
        }
        io_uring_sqe_set_flags(entry, IOSQE_BUFFER_SELECT);
        entry->buf_group = receive_buffer_group;
    }

    void operator()(const op::receive_into& what) {
        io_uring_prep_recv(entry, what.fd, what.data, what.length, 0);
    }

    void operator()(const op::send& what) {
        // MSG_WAITALL: what a full socket leaves is sent by the kernel, not by another operation.
        constexpr int flags = MSG_NOSIGNAL | MSG_WAITALL;
        const unsigned count = parts(what.vector_count);
        const bool single = count == 1;
        const bool known = single ? ring.has().send_zero_copy : ring.has().sendmsg_zero_copy;
        state.zero_copy =
            what.zero_copy && !state.copy && known && total(what.vector, count) >= zero_copy_bytes;
        if (single) {
            if (state.zero_copy) {
                io_uring_prep_send_zc(entry, what.fd, what.vector->iov_base,
                                      single_length(*what.vector), flags, 0);
            } else {
                io_uring_prep_send(entry, what.fd, what.vector->iov_base,
                                   single_length(*what.vector), flags);
            }
            return;
        }
        msghdr& message = ring.message_of(entry);
        message.msg_iov = const_cast<iovec*>(what.vector);
        message.msg_iovlen = count;
        if (state.zero_copy) {
            io_uring_prep_sendmsg_zc(entry, what.fd, &message, flags);
        } else {
            io_uring_prep_sendmsg(entry, what.fd, &message, flags);
        }
    }

    // Pipes and terminals have no offset; -1 is the descriptor's own position.
    void operator()(const op::read_stream& what) {
        io_uring_prep_read(entry, what.fd, what.data, what.length, own_position);
    }

    void operator()(const op::write_stream& what) {
        if (what.vector_count == 1) {
            io_uring_prep_write(entry, what.fd, what.vector->iov_base, single_length(*what.vector),
                                own_position);
        } else {
            io_uring_prep_writev(entry, what.fd, what.vector, parts(what.vector_count),
                                 own_position);
        }
    }

    void operator()(const op::shutdown& what) { io_uring_prep_shutdown(entry, what.fd, what.how); }

    // No ring operations: launch() has dealt with them.
    void operator()(const op::list_directory&) { WEIR_ASSERT(!"for the pool"); }
    void operator()(const op::listen&) { WEIR_ASSERT(!"done at once"); }
    void operator()(const op::socket_name&) { WEIR_ASSERT(!"done at once"); }
    void operator()(const op::lock&) { WEIR_ASSERT(!"done at once"); }
    void operator()(const op::position&) { WEIR_ASSERT(!"done at once"); }
};

/// A descriptor that is closed unless it is kept.
int result_or_close(int fd, int result) noexcept {
    if (result == 0) {
        return fd;
    }
    const int cause = errno;
    ::close(fd);
    return -cause;
}

}  // namespace

void fill_entry(io_uring_sqe& entry, operation& work, kernel_ring& ring, unsigned zero_copy_bytes) {
    std::visit(filler{&entry, state_of(work), ring, zero_copy_bytes}, work.what);
}

int socket_now(const op::connect& what) noexcept {
    const int fd = ::socket(what.address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    const int on = 1;
    int result = 0;
    if (what.address->ss_family == AF_INET || what.address->ss_family == AF_INET6) {
        result = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    return result_or_close(fd, result);
}

int socket_name_now(const op::socket_name& what) noexcept {
    auto* address = reinterpret_cast<sockaddr*>(what.address);
    socklen_t length = sizeof *what.address;
    const int result =
        what.peer ? getpeername(what.fd, address, &length) : getsockname(what.fd, address, &length);
    return result == 0 ? 0 : -errno;
}

int lock_now(const op::lock& what) noexcept {
    return flock(what.fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -errno;
}

bool is_fifo_now(int fd) noexcept {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

int position_now(const op::position& what) noexcept {
    if (what.appends != nullptr) {
        const int flags = fcntl(what.fd, F_GETFL);
        *what.appends = flags >= 0 && (flags & O_APPEND) != 0;
    }
    const off_t result = what.set ? lseek(what.fd, static_cast<off_t>(*what.offset), SEEK_SET)
                                  : lseek(what.fd, 0, SEEK_CUR);
    if (result < 0) {
        return -errno;
    }
    *what.offset = static_cast<std::uint64_t>(result);
    return 0;
}

int list_directory_now(const op::list_directory& what) noexcept {
    DIR* directory = opendir(what.path);
    if (directory == nullptr) {
        return -errno;
    }
    int cause = 0;
    try {
        errno = 0;
        // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody else has this stream
        while (const dirent* entry = readdir(directory)) {
            const std::string_view name = entry->d_name;
            if (name != "." && name != "..") {
                what.names->emplace_back(name);
            }
            errno = 0;
        }
        cause = errno;
    } catch (const std::bad_alloc&) {
        cause = ENOMEM;
    }
    closedir(directory);
    return -cause;
}

int truncate_now(const op::truncate& what) noexcept {
    return ftruncate(what.fd, static_cast<off_t>(what.size)) == 0 ? 0 : -errno;
}

}  // namespace weir::io
