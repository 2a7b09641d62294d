// SPDX-License-Identifier: Apache-2.0
#include <weir/io/uring_ring.hh>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <memory>
#include <source_location>
#include <system_error>

#include <liburing.h>
#include <sys/mman.h>
#include <time.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/io/remedy.hh>
#include <weir/io/uring_constants.hh>

namespace weir::io {

namespace {

constexpr unsigned least_entries = 8;

/// Setup flags from best to barest: each rung drops what the kernel before it did not know.
struct rung {
    unsigned flags;
    const char* name;
};
constexpr rung ladder[] = {
    {IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
         IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
     "deferred task work"},
    {IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
         IORING_SETUP_SUBMIT_ALL,
     "cooperative task work"},
    {IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL, "interrupting task work"},
};

/// What every operation list needs; all are older than the oldest setup rung.
constexpr std::uint8_t needed[] = {
    IORING_OP_NOP,       IORING_OP_READV,    IORING_OP_WRITEV,   IORING_OP_READ,
    IORING_OP_WRITE,     IORING_OP_FSYNC,    IORING_OP_POLL_ADD, IORING_OP_SENDMSG,
    IORING_OP_SEND,      IORING_OP_RECV,     IORING_OP_ACCEPT,   IORING_OP_ASYNC_CANCEL,
    IORING_OP_CONNECT,   IORING_OP_OPENAT,   IORING_OP_CLOSE,    IORING_OP_STATX,
    IORING_OP_FALLOCATE, IORING_OP_SHUTDOWN, IORING_OP_RENAMEAT, IORING_OP_UNLINKAT,
    IORING_OP_MKDIRAT,
};

std::string first_line_of(const char* path) {
    std::string line;
    if (std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path, "re"), &std::fclose); file) {
        char text[64];
        if (std::fgets(text, sizeof text, file.get()) != nullptr) {
            line.assign(text, std::strcspn(text, "\n"));
        }
    }
    return line;
}

/// Why io_uring_setup failed and what to do about it.
std::string advice(int cause) {
    switch (cause) {
        case EMFILE:
        case ENFILE:
            return with_remedy("", cause).substr(1);
        case EPERM:
        case EACCES: {
            const auto disabled = first_line_of("/proc/sys/kernel/io_uring_disabled");
            if (!disabled.empty() && disabled != "0") {
                return "(sysctl kernel.io_uring_disabled is " + disabled +
                       ": set it to 0, or join the group kernel.io_uring_group)";
            }
            return "(forbidden, most likely by a seccomp filter: allow io_uring_setup, "
                   "io_uring_enter and io_uring_register in the container's profile)";
        }
        case ENOSYS:
            return "(this kernel has no io_uring, or a seccomp filter hides it: Linux 6.1 or later "
                   "is needed, and io_uring_* allowed in the container's profile)";
        case ENOMEM:
            return "(not enough locked memory even for a small ring: raise ulimit -l, or "
                   "LimitMEMLOCK in the service's unit)";
        default:
            return "(setup refused)";
    }
}

__kernel_timespec timespec_of(duration time) noexcept {
    constexpr duration longest = std::chrono::hours(24);
    time = std::clamp(time, duration::zero(), longest);
    return {.tv_sec = time.count() / 1'000'000'000, .tv_nsec = time.count() % 1'000'000'000};
}

}  // namespace

kernel_ring::kernel_ring(const uring_options& options, uring_statistics& statistics)
    : _options(options), _statistics(statistics), _ring(std::make_unique<::io_uring>()) {
    set_up();
    try {
        probe();
    } catch (...) {
        io_uring_queue_exit(_ring.get());
        throw;
    }
    _messages = std::make_unique<msghdr[]>(_ring->sq.ring_entries);
    describe();
}

kernel_ring::~kernel_ring() {
    io_uring_queue_exit(_ring.get());
}

int kernel_ring::try_set_up(unsigned entries, unsigned flags) noexcept {
    io_uring_params params{};
    params.flags = flags;
    *_ring = ::io_uring{};
    const int result = io_uring_queue_init_params(entries, _ring.get(), &params);
    if (result == 0) {
        _setup_flags = flags;
    }
    return -result;
}

/// Climbs down the ladder while the kernel does not know the flags, then shrinks the ring while
/// locked memory does not allow its size. Memory of a ring that has just been closed (a restart)
/// comes back late: the first refusals are answered by waiting.
void kernel_ring::set_up() {
    auto step = std::begin(ladder);
    step += !_options.defer_taskrun + (!_options.defer_taskrun && !_options.cooperative_taskrun);
    unsigned entries = _options.entries;
    int patience = 4;
    for (;;) {
        const int cause = try_set_up(entries, step->flags);
        if (cause == 0) {
            _description = step->name;
            return;
        }
        if (cause == EINVAL && std::next(step) != std::end(ladder)) {
            ++step;
        } else if (cause == ENOMEM && patience > 0) {
            --patience;
            const timespec pause{.tv_sec = 0, .tv_nsec = 10'000'000};
            nanosleep(&pause, nullptr);
        } else if (cause == ENOMEM && entries / 2 >= least_entries) {
            entries /= 2;
        } else {
            throw error::from_errno("set up", "io_uring " + advice(cause), cause);
        }
    }
}

void kernel_ring::probe() {
    constexpr unsigned needed_features = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE |
                                         IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL;
    std::unique_ptr<io_uring_probe, decltype(&io_uring_free_probe)> kernel(
        io_uring_get_probe_ring(_ring.get()), &io_uring_free_probe);
    const auto has = [&](unsigned opcode) {
        return kernel != nullptr && opcode <= kernel->last_op &&
               (kernel->ops[opcode].flags & IO_URING_OP_SUPPORTED) != 0;
    };
    if ((_ring->features & needed_features) != needed_features ||
        !std::all_of(std::begin(needed), std::end(needed), has)) {
        throw error::from_errno("set up", "io_uring (this kernel's is too old: use Linux 6.1)",
                                ENOSYS);
    }
    check_buffer_rings();
    _features.defer_taskrun = _setup_flags & IORING_SETUP_DEFER_TASKRUN;
    _features.taskrun_flag = _setup_flags & IORING_SETUP_TASKRUN_FLAG;
    // Flags of an operation can't be probed; the opcodes that appeared with them can.
    _features.multishot_accept = _options.multishot && has(IORING_OP_SOCKET);
    _features.multishot_receive = _options.multishot && has(IORING_OP_SEND_ZC);
    _features.send_zero_copy = _options.zero_copy && has(IORING_OP_SEND_ZC);
    _features.sendmsg_zero_copy = _options.zero_copy && has(IORING_OP_SENDMSG_ZC);
    _features.ring_messages = _options.ring_messages && has(IORING_OP_MSG_RING);
    _features.no_iowait = _options.no_iowait && (_ring->features & feature_no_iowait) != 0;
    _features.truncate = _options.ring_truncate && has(opcode_ftruncate);
}

/// What the first receive would need: no list says whether they are there, so one is made. Want of
/// memory is no answer.
void kernel_ring::check_buffer_rings() {
    constexpr unsigned least = 1;
    void* page = mmap(nullptr, least * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return;
    }
    const int result = register_buffers(page, least);
    if (result == 0) {
        io_uring_unregister_buf_ring(_ring.get(), receive_buffer_group);
    }
    munmap(page, least * sizeof(io_uring_buf));
    if (result == -EINVAL || result == -EPERM || result == -EACCES || result == -ENOSYS) {
        throw error::from_errno("set up",
                                "io_uring (this kernel has no buffer rings, or a seccomp filter "
                                "hides them: use Linux 6.1, and allow io_uring_register)",
                                -result);
    }
}

void kernel_ring::describe() {
    const auto lacks = [this](bool feature, const char* name) {
        if (!feature) {
            _description += std::string(", no ") + name;
        }
    };
    std::string size = std::to_string(_ring->sq.ring_entries) + " entries";
    if (_ring->sq.ring_entries < _options.entries) {
        size += " (" + std::to_string(_options.entries) +
                " asked: locked memory allows no more, see ulimit -l)";
    }
    _description = "io_uring, " + size + ", " + _description;
    lacks(_features.multishot_accept, "multishot accept");
    lacks(_features.multishot_receive, "multishot receive");
    lacks(_features.send_zero_copy && _features.sendmsg_zero_copy, "zero-copy send");
    lacks(_features.ring_messages, "messages between rings");
    lacks(_features.truncate, "ftruncate");
    lacks(_features.no_iowait, "idle waits");
}

void kernel_ring::enable() {
    if (const int result = io_uring_enable_rings(_ring.get()); result < 0) {
        throw error::from_errno("enable", "io_uring", -result);
    }
    if (_options.registered_ring) {
        // Fails where a thread has registered its sixteenth ring: the plain descriptor works too.
        io_uring_register_ring_fd(_ring.get());
    }
    unsigned workers[2] = {_options.kernel_workers, _options.kernel_workers};
    if (const int result = io_uring_register_iowq_max_workers(_ring.get(), workers); result < 0) {
        throw error::from_errno("limit", "kernel workers of io_uring", -result);
    }
}

void kernel_ring::disable() noexcept {
    if (_ring->enter_ring_fd != _ring->ring_fd) {
        io_uring_unregister_ring_fd(_ring.get());
    }
}

io_uring_sqe* kernel_ring::next_entry() noexcept {
    io_uring_sqe* entry = io_uring_get_sqe(_ring.get());
    if (entry == nullptr) {
        push();
        entry = io_uring_get_sqe(_ring.get());
    }
    return entry;
}

msghdr& kernel_ring::message_of(const io_uring_sqe* entry) noexcept {
    auto& message = _messages[static_cast<std::size_t>(entry - _ring->sq.sqes)];
    message = msghdr{};
    return message;
}

std::uint32_t kernel_ring::flags_mask() const noexcept {
    return IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
}

const std::atomic<std::uint32_t>* kernel_ring::flags() const noexcept {
    // The kernel's word is an aligned unsigned that both sides access atomically.
    static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
                  sizeof(std::atomic<std::uint32_t>) == sizeof(unsigned));
    return reinterpret_cast<const std::atomic<std::uint32_t>*>(_ring->sq.kflags);
}

unsigned kernel_ring::prepared() const noexcept {
    return io_uring_sq_ready(_ring.get());
}

void kernel_ring::push() noexcept {
    ++_statistics.enters;
    check(io_uring_submit(_ring.get()), "submit to");
}

bool kernel_ring::must_enter() const noexcept {
    return prepared() != 0 || (flags()->load(std::memory_order_relaxed) & flags_mask()) != 0;
}

void kernel_ring::enter() noexcept {
    ++_statistics.enters;
    if ((flags()->load(std::memory_order_relaxed) & IORING_SQ_CQ_OVERFLOW) != 0) {
        ++_statistics.overflows;
    }
    check(io_uring_submit_and_get_events(_ring.get()), "enter");
}

void kernel_ring::enter_and_wait(duration timeout) noexcept {
    ++_statistics.enters;
    ++_statistics.parks;
    io_uring_cqe* first = nullptr;
    if (_features.no_iowait && _statistics.files_in_flight == 0) {
        const auto time = timespec_of(timeout);
        check(wait_idle(timeout == duration::max() ? nullptr : &time), "wait for");
    } else if (timeout == duration::max()) {
        check(io_uring_submit_and_wait(_ring.get(), 1), "wait for");
    } else {
        auto time = timespec_of(timeout);
        check(io_uring_submit_and_wait_timeout(_ring.get(), &first, 1, &time, nullptr), "wait for");
    }
}

/// What io_uring_submit_and_wait_timeout does, with a flag that liburing doesn't know yet.
int kernel_ring::wait_idle(const __kernel_timespec* timeout) noexcept {
    io_uring_sq& queue = _ring->sq;
    for (; queue.sqe_head != queue.sqe_tail; ++queue.sqe_head) {
        queue.array[queue.sqe_head & queue.ring_mask] = queue.sqe_head & queue.ring_mask;
    }
    // Release: pairs with the kernel's acquire of the tail, before it reads the entries.
    io_uring_smp_store_release(queue.ktail, queue.sqe_tail);
    io_uring_getevents_arg argument{};
    argument.sigmask_sz = _NSIG / 8;
    argument.ts = reinterpret_cast<std::uint64_t>(timeout);
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG | enter_no_iowait;
    if (_ring->enter_ring_fd != _ring->ring_fd) {
        flags |= IORING_ENTER_REGISTERED_RING;
    }
    return io_uring_enter2(static_cast<unsigned>(_ring->enter_ring_fd), prepared(), 1, flags,
                           reinterpret_cast<sigset_t*>(&argument), sizeof argument);
}

/// EAGAIN and EBUSY: the kernel lacks memory or its queue overflows; what it has not taken stays
/// prepared for the next enter. ETIME and EINTR: the wait ended. All else is a bug here, or the
/// loss of a completion (EBADR), after which nothing can be trusted.
void kernel_ring::check(int result, const char* what) noexcept {
    if (result >= 0 || result == -EAGAIN || result == -EBUSY || result == -ETIME ||
        result == -EINTR || result == -ENOMEM) {
        return;
    }
    const auto message =
        std::string(what) + " io_uring: " + std::generic_category().message(-result);
    assertion_failed(message.c_str(), std::source_location::current());
}

unsigned kernel_ring::ready() const noexcept {
    return io_uring_cq_ready(_ring.get());
}

ring_completion kernel_ring::take() noexcept {
    auto& queue = _ring->cq;
    const auto& entry = queue.cqes[*queue.khead & queue.ring_mask];
    const ring_completion taken{entry.user_data, entry.res, entry.flags};
    io_uring_cq_advance(_ring.get(), 1);
    return taken;
}

int kernel_ring::register_buffers(void* ring, unsigned count) noexcept {
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uint64_t>(ring);
    registration.ring_entries = count;
    registration.bgid = receive_buffer_group;
    return io_uring_register_buf_ring(_ring.get(), &registration, 0);
}

int kernel_ring::descriptor() const noexcept {
    return _ring->ring_fd;
}

}  // namespace weir::io
