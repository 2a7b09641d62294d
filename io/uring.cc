// SPDX-License-Identifier: Apache-2.0
#include <weir/io/uring.hh>

#include <bit>
#include <cerrno>
#include <string>
#include <utility>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/io/remedy.hh>
#include <weir/io/uring_backend.hh>
#include <weir/io/uring_call.hh>  // IWYU pragma: keep (whole where it is destroyed)
#include <weir/io/uring_constants.hh>

namespace weir::io {

namespace {

/// What the kernel would refuse later, at the first receive, or what would never let go on.
void check_limits(const uring_options& options) {
    constexpr unsigned most_buffers = 1 << 15;
    const auto refuse = [](const char* option, const char* why) {
        throw error("set up", std::string("io_uring (") + option + ' ' + why + ')',
                    errc::malformed);
    };
    if (!std::has_single_bit(options.receive_buffers) || options.receive_buffers > most_buffers) {
        refuse("receive_buffers", "must be a power of two, 32768 at most");
    }
    if (options.receive_buffer_bytes == 0) {
        refuse("receive_buffer_bytes", "must not be 0");
    }
    if (options.files_in_flight == 0 || options.sockets_in_flight == 0) {
        refuse("files_in_flight and sockets_in_flight", "must not be 0");
    }
}

}  // namespace

std::unique_ptr<uring> make_uring(const uring_options& options, thread_pool& pool,
                                  const cycle_counter& cycles, listening_addresses* shared) {
    check_limits(options);
    return std::make_unique<uring_backend>(options, pool, cycles, shared);
}

uring_backend::uring_backend(const uring_options& options, thread_pool& pool,
                             const cycle_counter& cycles, listening_addresses* shared)
    : uring(options.budget),
      client(pool),
      _options(options),
      _cycles(cycles),
      _clock(cycles),
      _slice(cycles.ticks(options.quota), cycles.ticks(options.minimum_slice)),
      _random_state(random_seed()),
      _ring(_options, _statistics),
      _files{{}, &_statistics.files_in_flight, options.files_in_flight},
      _sockets{{}, &_statistics.sockets_in_flight, options.sockets_in_flight},
      _own_listening(shared == nullptr ? std::make_unique<listening_addresses>() : nullptr),
      _listening(shared == nullptr ? _own_listening.get() : shared) {
    _event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (_event < 0) {
        throw error::from_errno("create", with_remedy("eventfd", errno), errno);
    }
}

uring_backend::~uring_backend() {
    stop();
    ::close(_event);
}

/// The first turn makes its thread the shard's: until then the ring is disabled.
void uring_backend::bind() {
    if (_owner.has_value()) [[likely]] {
        return;
    }
    _owner = std::this_thread::get_id();
    _ring.enable();
    arm_event();
}

unsigned uring_backend::poll() {
    bind();
    unsigned taken = 0;
    for (unsigned ready = _ring.ready(); ready > 0; --ready) {
        taken += take(_ring.take());
    }
    taken += take_finished_calls();
    taken += take_finished_operations();
    feed_lines();
    return taken;
}

void uring_backend::submit() {
    bind();
    prepare_turn_end();
    if (_ring.must_enter()) {
        _ring.enter();
    }
}

/// What may have found the submission queue full before.
void uring_backend::prepare_turn_end() noexcept {
    if (!_event_armed) {
        arm_event();
    }
    if (std::exchange(_cancel_missed, false)) {
        owe_cancels_again();
    }
    if (_cancels_owed) {
        send_owed_cancels();
    }
    feed_lines();
}

void uring_backend::park(instant until) {
    bind();
    prepare_turn_end();
    auto expected = sleep::awake;
    // Acquire and release: pairs with the exchange in interrupt() and wake(). Either they see
    // that this shard is parked, or it sees here that it must not sleep.
    if (has_completions() ||
        !_sleep.compare_exchange_strong(expected, sleep::parked, std::memory_order_acq_rel)) {
        if (expected == sleep::interrupted) {
            // Acquire: pairs with the release of the interrupt that is taken here.
            _sleep.exchange(sleep::awake, std::memory_order_acquire);
        }
        submit();
        return;
    }
    _ring.enter_and_wait(until == never ? duration::max() : until - now());
    // Acquire: pairs with the release of an interrupt; what was done before it is seen after.
    _sleep.exchange(sleep::awake, std::memory_order_acquire);
}

/// A message between rings leaves with this shard's next enter, so a wake-up at the end of a turn
/// costs no system call of its own. Only one of those who wake a shard may rely on that: until the
/// message has left, the others write the eventfd. An awake shard needs nothing: it can't fall
/// asleep.
void uring_backend::wake(poller& peer) {
    auto& other = static_cast<uring_backend&>(peer);
    auto expected = sleep::parked;
    // Release: what was published before it is seen when the peer's park returns; acquire: pairs
    // with the compare-and-swap in park().
    if (!other._sleep.compare_exchange_strong(expected, sleep::message_prepared,
                                              std::memory_order_acq_rel)) {
        other.interrupt();
    } else if (prepare_message(other)) {
        ++_statistics.wakes_by_ring;
    } else {
        ++_statistics.wakes_by_event;
        other.interrupt();
    }
}

/// returns  false if this kernel knows no messages, or takes none now
bool uring_backend::prepare_message(uring_backend& to) noexcept {
    io_uring_sqe* entry = _ring.has().ring_messages ? _ring.next_entry() : nullptr;
    if (entry == nullptr) {
        return false;
    }
    io_uring_prep_msg_ring(entry, to._ring.descriptor(), 0,
                           static_cast<std::uint64_t>(ring_tag::woken), 0);
    io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
    entry->user_data =
        reinterpret_cast<std::uint64_t>(&to) | static_cast<std::uint64_t>(ring_tag::message);
    return true;
}

void uring_backend::interrupt() noexcept {
    // As in wake().
    const sleep before = _sleep.exchange(sleep::interrupted, std::memory_order_acq_rel);
    if (before == sleep::parked || before == sleep::message_prepared) {
        write_event();
    }
}

/// The eventfd is polled for edges and never read: each write is one completion.
void uring_backend::write_event() noexcept {
    WEIR_ASSERT(eventfd_write(_event, 1) == 0);
}

void uring_backend::arm_event() noexcept {
    if (io_uring_sqe* entry = _ring.next_entry()) {
        io_uring_prep_poll_multishot(entry, _event, POLLIN);
        entry->user_data = static_cast<std::uint64_t>(ring_tag::event);
        _event_armed = true;
    }
}

const std::atomic<std::uint32_t>* uring_backend::completions_word() const noexcept {
    return _ring.flags();
}

std::uint32_t uring_backend::completions_mask() const noexcept {
    return _ring.flags_mask();
}

/// SplitMix64.
std::uint64_t uring_backend::random() noexcept {
    std::uint64_t z = _random_state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/// Some operations that a signal interrupts (an open that waits) let the kernel's own codes for "to
/// be restarted" out.
std::int32_t uring_backend::told(std::int32_t result) noexcept {
    constexpr std::int32_t restart_first = 512, restart_last = 516;
    return -result >= restart_first && -result <= restart_last ? -EINTR : result;
}

unsigned uring_backend::take(const ring_completion& entry) noexcept {
    const auto tag = static_cast<ring_tag>(entry.user_data & ring_tag_mask);
    if (tag == ring_tag{}) [[likely]] {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): what the kernel was given, as it carries it
        take_operation(*reinterpret_cast<operation*>(entry.user_data),
                       {entry.user_data, told(entry.result), entry.flags});
        return 1;
    }
    if (tag == ring_tag::event && (entry.flags & IORING_CQE_F_MORE) == 0) {
        _event_armed = false;
    } else if (tag == ring_tag::cancelled && entry.result == -ENOENT) {
        _cancel_missed = true;
    } else if (tag == ring_tag::message && entry.result < 0) {
        // The peer's ring took no message; it still waits for it.
        ++_statistics.wakes_by_event;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): what the kernel was given, less its tag
        reinterpret_cast<uring_backend*>(entry.user_data & ~ring_tag_mask)->write_event();
    }
    return 0;
}

unsigned uring_backend::take_finished_calls() noexcept {
    unsigned taken = 0;
    for (blocking_work* work = has_finished() ? take_finished() : nullptr; work != nullptr;
         ++taken) {
        std::exchange(work, work->next)->complete();
    }
    return taken;
}

void uring_backend::cancel_all() {
    for (auto* waiting : {&_files.waiting, &_sockets.waiting}) {
        while (!waiting->empty()) {
            cancel(*waiting->first());
        }
    }
    for (operation* work = _in_kernel.first(); work != nullptr; work = work->next) {
        cancel(*work);
    }
}

void uring_backend::stop() {
    client::stop();
    if (_stopping) {
        return;
    }
    _stopping = true;
    if (!_owner.has_value()) {
        return;
    }
    WEIR_ASSERT(*_owner == std::this_thread::get_id());
    const instant patience_ends = now() + _options.stop_patience;
    cancel_all();
    while (!_in_kernel.empty()) {
        WEIR_ASSERT(now() < patience_ends && "the kernel holds on to memory of operations");
        if (_cancels_owed) {
            send_owed_cancels();
        }
        _ring.enter_and_wait(std::chrono::milliseconds(100));
        if (_ring.ready() == 0) {
            owe_cancels_again();
        }
        for (unsigned ready = _ring.ready(); ready > 0; --ready) {
            take(_ring.take());
        }
    }
    take_finished_operations();
    _statistics.abandoned += _pooled.size();
    _pooled.clear();
    _ring.disable();
}

}  // namespace weir::io
