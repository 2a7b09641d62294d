// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

/// The closed list of what weir asks of a kernel, as data. Every backend implements every entry,
/// so that whatever runs on the kernel runs in the simulator too. Pointers are borrowed and must
/// live until the operation's last completion. The result is that of the system call: a count, a
/// descriptor or 0, else -errno. EINTR and EAGAIN are no results but where an entry says so: the
/// backend asks again.
namespace weir::io::op {

/// Completes at once: a turn through the kernel, for tests and benchmarks.
struct nop {};

enum class access : std::uint8_t { read, write, read_write };

/// Opens a file: result is its descriptor. A FIFO waits for its other end: to be written until it
/// has a reader, to be read until there is something, or a writer has come and gone.
struct open {
    const char* path;
    access mode = access::read;
    bool create = false;     ///< make it if it is missing, mode 0644
    bool exclusive = false;  ///< with create: fail with EEXIST if it is there
    bool truncate = false;   ///< cut it to nothing
    bool direct = false;     ///< O_DIRECT: offset, length and address must be aligned
    bool data_sync = false;  ///< O_DSYNC: a write completes when its data is durable
    bool directory = false;  ///< open a directory, to sync it
};

/// Closes a file or socket.
struct close {
    int fd;
    bool reset = false;  ///< a connection: drops what the peer did not take, and tells it so
};

/// What stat tells; the caller owns it.
struct file_status {
    std::uint64_t size = 0;
    bool is_directory = false;
    bool by_position = true;  ///< it has offsets: a regular file, or a block device; no pipe
    std::uint32_t memory_alignment = 4096;  ///< of addresses for O_DIRECT
    std::uint32_t offset_alignment = 4096;  ///< of offsets and lengths for O_DIRECT
};

/// Status by descriptor (path null) or by path.
struct stat {
    int fd = -1;
    const char* path = nullptr;
    file_status* status;
};

/// Reads at an offset: result is the count, less than asked at the end of the file.
struct read {
    int fd;
    std::uint64_t offset;
    const iovec* vector;
    std::uint32_t vector_count;
    bool direct = false;  ///< the file was opened so: no processor copies the bytes
};

/// Writes at an offset: result is the count, which may be short.
struct write {
    int fd;
    std::uint64_t offset;
    const iovec* vector;
    std::uint32_t vector_count;
    bool direct = false;  ///< the file was opened so: no processor copies the bytes
};

/// fdatasync, or fsync if `metadata`; on a directory makes its entries durable.
struct sync {
    int fd;
    bool metadata = false;
};

/// fallocate: reserves space and extends the size; the range reads as zeros.
struct allocate {
    int fd;
    std::uint64_t offset;
    std::uint64_t length;
};

/// Sets the size.
struct truncate {
    int fd;
    std::uint64_t size;
};

/// Locks an open file for this process against others (flock, exclusive), until it is closed:
/// -EWOULDBLOCK (EAGAIN) if another open file holds the lock. Never waits.
struct lock {
    int fd;
};

struct rename {
    const char* from;
    const char* to;
};

struct unlink {
    const char* path;
    bool directory = false;
};

struct make_directory {
    const char* path;
};

/// The names in a directory, without "." and "..", in no order.
struct list_directory {
    const char* path;
    std::vector<std::string>* names;
};

/// Creates a stream socket, binds and listens: result is its descriptor. With port 0 the kernel
/// picks one and writes it to `address`. The address is this process's alone, and each of its
/// shards may have a listener there: -EADDRINUSE if another process has it, or if somebody has one
/// that overlaps with it, as a wildcard does with all of its port. TCP_NODELAY is set on whatever
/// listens or connects, and what is accepted inherits it.
struct listen {
    sockaddr_storage* address;
    socklen_t address_length;
    int backlog = 1024;
};

/// Takes a connection: result is its descriptor. Multishot: completes again and again, with
/// `more` set, until it fails or is cancelled. The backend may end it after any connection: a
/// completion without `more` is the last, and who wants others submits again.
struct accept {
    int fd;
};

/// Creates a stream socket and connects it: result is its descriptor.
struct connect {
    const sockaddr_storage* address;
    socklen_t address_length;
};

/// Receives into a buffer that the backend lends with the completion. Multishot: as accept.
/// -ENOBUFS means that all buffers are lent: submit again when some came back.
struct receive {
    int fd;
};

/// Receives into the caller's own buffer, once: result is the count, 0 at the end.
struct receive_into {
    int fd;
    void* data;
    std::uint32_t length;
};

/// Sends: result is the count, which may be short.
struct send {
    int fd;
    const iovec* vector;
    std::uint32_t vector_count;
    bool zero_copy = false;  ///< a hint; the completion comes when the memory is free again
};

/// Reads what comes next in a pipe, a terminal, a connection or a file, at the position that the
/// descriptor itself has: the standard input. Waits for the first byte: result is the count, 0 at
/// the end; -EAGAIN where somebody has set O_NONBLOCK and nothing is there. The simulator has
/// connections only.
struct read_stream {
    int fd;
    void* data;
    std::uint32_t length;
};

/// Writes at the position that the descriptor itself has: the standard output. Result is the
/// count, which may be short; waits while there is no room, but says -EAGAIN where somebody has set
/// O_NONBLOCK. Where nobody reads any more it raises
/// SIGPIPE, unless that is ignored, as in io::run(). The simulator has connections only.
struct write_stream {
    int fd;
    const iovec* vector;
    std::uint32_t vector_count;
};

/// Asks where the position of a descriptor is that it has itself, or sets it: -ESPIPE if it has
/// none (a pipe, a terminal, a connection). Never waits.
struct position {
    int fd;
    bool set = false;
    std::uint64_t* offset;
    bool* appends = nullptr;  ///< told too, if not null: each write goes to the end (O_APPEND)
};

/// Ends one or both directions (SHUT_RD, SHUT_WR, SHUT_RDWR).
struct shutdown {
    int fd;
    int how;
};

/// The two ends of a stream socket, as sockaddr; no kernel wait.
struct socket_name {
    int fd;
    bool peer;
    sockaddr_storage* address;
};

}  // namespace weir::io::op

namespace weir::io {

using any_op = std::variant<op::nop, op::open, op::close, op::stat, op::read, op::write, op::sync,
                            op::allocate, op::truncate, op::lock, op::rename, op::unlink,
                            op::make_directory, op::list_directory, op::listen, op::accept,
                            op::connect, op::receive, op::receive_into, op::send, op::read_stream,
                            op::write_stream, op::position, op::shutdown, op::socket_name>;

/// Whether it is one of these.
template <typename... Kinds>
bool holds_any(const any_op& what) noexcept {
    return (std::holds_alternative<Kinds>(what) || ...);
}

}  // namespace weir::io
