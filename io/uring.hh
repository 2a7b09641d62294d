// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include <weir/io/backend.hh>
#include <weir/io/budget_window.hh>
#include <weir/io/system_clock.hh>
#include <weir/io/thread_pool.hh>

namespace weir::io {

class listening_addresses;

struct uring_options {
    /// Submission entries; halved until locked memory allows them. A power of two.
    unsigned entries = 512;
    /// Operations on files in the kernel at once; more wait in line.
    unsigned files_in_flight = 1'024;
    /// Operations on sockets in the kernel at once; they may wait for a peer for ever, so they
    /// never keep a file operation, a close or a shutdown waiting.
    unsigned sockets_in_flight = 65'536;
    /// Kernel worker threads of each kind (bounded and unbounded) for what can't complete at once.
    unsigned kernel_workers = 16;
    /// Who of those that read and write files goes first.
    budget_options budget{};

    /// Buffers that receives lend, made at the first receive. The count is a power of two.
    unsigned receive_buffers = 256;
    unsigned receive_buffer_bytes = 16 << 10;
    /// Sends with the hint zero_copy are copied all the same below this size.
    unsigned zero_copy_bytes = 32 << 10;

    duration quota = std::chrono::microseconds(500);         ///< of a turn's tasks
    duration minimum_slice = std::chrono::microseconds(10);  ///< before a bell may end a turn
    duration stop_patience = std::chrono::seconds(30);       ///< stop() aborts after it

    // What a kernel may lack is probed; what is switched off here is not used though it is there.
    bool defer_taskrun = true;
    bool cooperative_taskrun = true;
    bool registered_ring = true;
    bool multishot = true;
    bool zero_copy = true;
    bool ring_messages = true;
    bool ring_truncate = true;
    bool no_iowait = true;  ///< a shard that waits for no file is idle, not blocked by I/O
};

/// Counted by the shard, read by its metrics.
struct uring_statistics {
    std::uint64_t started = 0;          ///< operations
    std::uint64_t completed = 0;        ///< operations
    std::uint64_t files_in_flight = 0;  ///< now
    std::uint64_t sockets_in_flight = 0;
    std::uint64_t waiting = 0;          ///< operations in line now, for a limit
    std::uint64_t waited = 0;           ///< operations that ever stood in line
    std::uint64_t enters = 0;           ///< system calls that entered the ring
    std::uint64_t parks = 0;            ///< of them, those that may have slept
    std::uint64_t overflows = 0;        ///< enters that found completions beyond the queue's size
    std::uint64_t buffers_lent = 0;     ///< now
    std::uint64_t out_of_buffers = 0;   ///< receives that ended for lack of a buffer
    std::uint64_t zero_copy_sends = 0;  ///< sends given to the kernel without a copy
    std::uint64_t wakes_by_ring = 0;    ///< peers woken by a message between rings
    std::uint64_t wakes_by_event = 0;   ///< peers woken by an eventfd
    std::uint64_t abandoned = 0;        ///< operations that stop() ended unseen
};

/// The backend on io_uring. Its constructor, not its first use, fails where io_uring is missing
/// or forbidden. The thread that first polls, submits or parks becomes its shard's.
class uring : public backend {
  public:
    /// Cancels all operations; they complete in later polls.
    virtual void cancel_all() = 0;
    /// Cancels what is in flight, waits until the kernel has let go of all memory, and drops the
    /// operations without completing them: their owners are gone or wait no more.
    /// thread   the shard's
    virtual void stop() = 0;
    virtual const uring_statistics& statistics() const noexcept = 0;
    /// One line for the log: entries, flags, what is missing.
    virtual const std::string& description() const noexcept = 0;

  protected:
    using backend::backend;
};

/// shared   the addresses that its host's shards listen on; null: it is a host of one
/// fails    weir::error that says why the kernel refuses and what to do
std::unique_ptr<uring> make_uring(const uring_options& options, thread_pool& pool,
                                  const cycle_counter& cycles,
                                  listening_addresses* shared = nullptr);

}  // namespace weir::io
