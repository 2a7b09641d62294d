// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include <sys/socket.h>

#include <weir/io/uring.hh>

struct io_uring;
struct io_uring_sqe;
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the kernel's name
struct __kernel_timespec;

namespace weir::io {

/// What a completion queue entry says.
struct ring_completion {
    std::uint64_t user_data;
    std::int32_t result;
    std::uint32_t flags;
};

/// The two queues shared with the kernel: sets them up as well as the kernel allows, and enters.
/// Internal to the uring backend.
/// thread   one; enable() binds it
class kernel_ring {
  public:
    /// What the kernel has and the options allow.
    struct features {
        bool defer_taskrun = false;
        bool taskrun_flag = false;
        bool multishot_accept = false;
        bool multishot_receive = false;
        bool send_zero_copy = false;
        bool sendmsg_zero_copy = false;
        bool ring_messages = false;
        bool truncate = false;
        bool no_iowait = false;
    };

    /// fails    weir::error that names the cause and the remedy
    kernel_ring(const uring_options& options, uring_statistics& statistics);
    kernel_ring(const kernel_ring&) = delete;
    kernel_ring& operator=(const kernel_ring&) = delete;
    ~kernel_ring();

    /// Binds the ring to this thread.
    void enable();
    /// Undoes what enable() registered for this thread; the ring is of no use after it.
    void disable() noexcept;
    /// A cleared entry to fill; it goes to the kernel with the next enter. Enters if all are full.
    /// returns  null if the kernel takes no more for now
    io_uring_sqe* next_entry() noexcept;
    /// A message header that lives until the kernel has taken `entry`.
    msghdr& message_of(const io_uring_sqe* entry) noexcept;

    /// returns  how many entries are filled and not handed over
    unsigned prepared() const noexcept;
    /// Hands over what is prepared.
    void push() noexcept;
    bool must_enter() const noexcept;
    /// Hands over what is prepared and has due completions posted; doesn't wait.
    void enter() noexcept;
    /// The same, then waits for a completion, at most `timeout` (never: `duration::max()`).
    void enter_and_wait(duration timeout) noexcept;

    unsigned ready() const noexcept;
    ring_completion take() noexcept;

    /// fails    returns -errno
    int register_buffers(void* ring, unsigned count) noexcept;
    int descriptor() const noexcept;
    const std::atomic<std::uint32_t>* flags() const noexcept;
    std::uint32_t flags_mask() const noexcept;
    const features& has() const noexcept { return _features; }
    const std::string& description() const noexcept { return _description; }

  private:
    void set_up();
    int try_set_up(unsigned entries, unsigned flags) noexcept;
    void probe();
    void check_buffer_rings();
    void describe();
    void check(int result, const char* what) noexcept;
    int wait_idle(const __kernel_timespec* timeout) noexcept;

    const uring_options& _options;
    uring_statistics& _statistics;
    std::unique_ptr<::io_uring> _ring;
    std::unique_ptr<msghdr[]> _messages;
    features _features;
    unsigned _setup_flags = 0;
    std::string _description;
};

}  // namespace weir::io
