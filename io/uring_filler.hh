// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <weir/io/backend.hh>
#include <weir/io/uring_ring.hh>

/// From operations as data to what the kernel is told. Internal to the uring backend.
namespace weir::io {

/// What the backend keeps in operation::backend_data.
struct operation_state {
    enum place : std::uint8_t { idle, in_line, in_kernel, in_pool, finished };

    place where = idle;
    bool cancelled = false;    ///< a cancellation was asked for
    bool cancel_owed = false;  ///< but no entry was free for it
    bool zero_copy = false;    ///< was sent without a copy
    bool copy = false;         ///< must be sent with a copy
    bool opens_again = false;  ///< open: a FIFO that waits for its other end
    /// connect: the socket; open: a FIFO's descriptor; stat: where the kernel writes;
    /// else the result until it is delivered.
    std::int64_t value = -1;
};

inline operation_state& state_of(operation& work) noexcept {
    static_assert(sizeof(operation_state) <= sizeof work.backend_data);
    return *reinterpret_cast<operation_state*>(work.backend_data);
}

/// statx's mask bit for the alignment of direct I/O.
inline constexpr unsigned statx_direct_alignment = 0x2000;

/// Writes the entry for an operation of the ring; what it points to lives until the entry is
/// submitted, and the state's `value` until the completion.
void fill_entry(io_uring_sqe& entry, operation& work, kernel_ring& ring, unsigned zero_copy_bytes);

/// What a system call that can't block answers: its result or -errno.
int socket_now(const op::connect& what) noexcept;
int socket_name_now(const op::socket_name& what) noexcept;
int lock_now(const op::lock& what) noexcept;
/// Whether a descriptor, just opened, is a FIFO's.
bool is_fifo_now(int fd) noexcept;
int position_now(const op::position& what) noexcept;

/// These may block: for a pool thread.
int list_directory_now(const op::list_directory& what) noexcept;
int truncate_now(const op::truncate& what) noexcept;

}  // namespace weir::io
