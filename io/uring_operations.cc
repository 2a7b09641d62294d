// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <iterator>
#include <new>
#include <variant>

#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/io/uring_backend.hh>
#include <weir/io/uring_call.hh>
#include <weir/io/uring_constants.hh>
#include <weir/io/uring_filler.hh>

namespace weir::io {

namespace {

using kernel_status = struct ::statx;  // the word alone is the system call

template <typename T>
const T* as(const operation& work) noexcept {
    return std::get_if<T>(&work.what);
}

/// Whether it may wait for a peer, for ever.
bool waits_for_peer(const operation& work) noexcept {
    return as<op::accept>(work) || as<op::connect>(work) || as<op::receive>(work) ||
           as<op::receive_into>(work) || as<op::send>(work) || as<op::read_stream>(work) ||
           as<op::write_stream>(work);
}

bool yields_descriptor(const operation& work) noexcept {
    return as<op::open>(work) || as<op::listen>(work) || as<op::accept>(work) ||
           as<op::connect>(work);
}

}  // namespace

uring_backend::line& uring_backend::line_of(const operation& work) noexcept {
    return waits_for_peer(work) ? _sockets : _files;
}

void uring_backend::start(operation& work) noexcept {
    bind();
    auto& state = state_of(work);
    WEIR_ASSERT(state.where == operation_state::idle && !_stopping);
    state = {};
    ++_statistics.started;
    line& mine = line_of(work);
    if (!mine.waiting.empty() || *mine.in_flight >= mine.limit ||
        launch(work) == launched::no_entry) {
        state.where = operation_state::in_line;
        mine.waiting.push_back(work);
        ++_statistics.waiting;
        ++_statistics.waited;
    }
}

void uring_backend::feed_lines() noexcept {
    for (line* each : {&_files, &_sockets}) {
        while (!each->waiting.empty() && *each->in_flight < each->limit) {
            operation& work = each->waiting.pop_front();
            if (launch(work) == launched::no_entry) {
                each->waiting.push_front(work);
                return;
            }
            --_statistics.waiting;
        }
    }
}

uring_backend::launched uring_backend::launch(operation& work) noexcept {
    if (const auto* closing = as<op::close>(work);
        closing != nullptr && close_listener(closing->fd)) {
        return finish(work, 0);
    }
    if (const auto* position = as<op::position>(work)) {
        return finish(work, position_now(*position));
    }
    if (const auto* name = as<op::socket_name>(work)) {
        return finish(work, socket_name_now(*name));
    }
    if (const auto* lock = as<op::lock>(work)) {
        return finish(work, lock_now(*lock));
    }
    if (as<op::list_directory>(work) || as<op::listen>(work) ||
        (as<op::truncate>(work) && !_ring.has().truncate)) {
        return call_in_pool(work);
    }
    return into_kernel(work);
}

/// returns  false if it is none
bool uring_backend::close_listener(int fd) noexcept {
    return std::erase(_listeners, fd) != 0 && _listening->close(fd);
}

void uring_backend::close_now(int fd) noexcept {
    if (!close_listener(fd)) {
        ::close(fd);
    }
}

uring_backend::launched uring_backend::finish(operation& work, std::int32_t result) noexcept {
    auto& state = state_of(work);
    state.where = operation_state::finished;
    state.value = result;
    _finished.push_back(work);
    return launched::finished;
}

unsigned uring_backend::take_finished_operations() noexcept {
    unsigned taken = 0;
    for (auto finished = _finished.take(); !finished.empty(); ++taken) {
        operation& work = finished.pop_front();
        deliver(work, {.result = static_cast<std::int32_t>(state_of(work).value)});
    }
    return taken;
}

uring_backend::launched uring_backend::call_in_pool(operation& work) noexcept {
    try {
        if (as<op::listen>(work)) {
            _listeners.reserve(_listeners.size() + ++_will_listen);
        }
        auto& call = _pooled.emplace_back(*this, work);
        call.place = std::prev(_pooled.end());
    } catch (const std::bad_alloc&) {
        _will_listen -= as<op::listen>(work) != nullptr;
        return finish(work, -ENOMEM);
    }
    client::submit(_pooled.back());
    state_of(work).where = operation_state::in_pool;
    ++*line_of(work).in_flight;
    return launched::in_pool;
}

void uring_backend::pooled_call::run() noexcept {
    if (const auto* listing = as<op::list_directory>(asked)) {
        result = list_directory_now(*listing);
    } else if (const auto* listening = as<op::listen>(asked)) {
        result = owner._listening->listen(*listening);
    } else {
        result = truncate_now(std::get<op::truncate>(asked.what));
    }
}

void uring_backend::pooled_call::complete() noexcept {
    auto& backend = owner;
    auto& work = asked;
    const auto outcome = result;
    backend._pooled.erase(place);
    if (as<op::listen>(work)) {
        --backend._will_listen;
        if (outcome >= 0) {
            backend._listeners.push_back(outcome);  // call_in_pool() has made room
        }
    }
    --*backend.line_of(work).in_flight;
    backend.deliver(work, {.result = outcome});
}

uring_backend::launched uring_backend::into_kernel(operation& work) noexcept {
    auto& state = state_of(work);
    if (const auto* connecting = as<op::connect>(work); connecting != nullptr && state.value < 0) {
        state.value = socket_now(*connecting);
        if (state.value < 0) {
            return finish(work, static_cast<std::int32_t>(state.value));
        }
    }
    if (as<op::receive>(work) && !_buffers.made()) {
        const int result =
            _buffers.make(_ring, _options.receive_buffers, _options.receive_buffer_bytes);
        if (result < 0) {
            return finish(work, result);
        }
    }
    std::unique_ptr<kernel_status> status(as<op::stat>(work) ? new (std::nothrow) kernel_status
                                                             : nullptr);
    if (as<op::stat>(work) && status == nullptr) {
        return finish(work, -ENOMEM);
    }
    io_uring_sqe* entry = _ring.next_entry();
    if (entry == nullptr) {
        return launched::no_entry;
    }
    if (status != nullptr) {
        state.value = reinterpret_cast<std::int64_t>(status.release());
    }
    fill_entry(*entry, work, _ring, _options.zero_copy_bytes);
    entry->user_data = reinterpret_cast<std::uint64_t>(&work);
    state.where = operation_state::in_kernel;
    _statistics.zero_copy_sends += state.zero_copy;
    _in_kernel.push_back(work);
    line& mine = line_of(work);
    ++*mine.in_flight;
    if (&mine == &_files) {
        push_files();
    }
    return launched::in_kernel;
}

/// A device that gets its work in bursts, at the ends of turns, idles between them. So what makes
/// up an eighth of the file operations under way goes ahead; fewer than four are no burst.
void uring_backend::push_files() noexcept {
    constexpr std::uint64_t least = 4, part = 8;
    if (_ring.prepared() >= std::max(least, _statistics.files_in_flight / part)) {
        _ring.push();
    }
}

void uring_backend::cancel(operation& work) noexcept {
    auto& state = state_of(work);
    if (state.where == operation_state::in_line) {
        line_of(work).waiting.remove(work);
        --_statistics.waiting;
        if ((as<op::connect>(work) || as<op::open>(work)) && state.value >= 0) {
            ::close(static_cast<int>(state.value));
        }
        finish(work, -ECANCELED);
    } else if (state.where == operation_state::in_kernel && !state.cancelled) {
        state.cancelled = true;
        if (!send_cancel(work)) {
            state.cancel_owed = true;
            _cancels_owed = true;
        }
    }
}

/// Entries are taken in order, so that a cancellation finds its operation, and none other at the
/// same address: that could only start after this one's completion was polled.
bool uring_backend::send_cancel(operation& work) noexcept {
    io_uring_sqe* entry = _ring.next_entry();
    if (entry == nullptr) {
        return false;
    }
    io_uring_prep_cancel64(entry, reinterpret_cast<std::uint64_t>(&work), 0);
    io_uring_sqe_set_flags(entry, IOSQE_CQE_SKIP_SUCCESS);
    entry->user_data = static_cast<std::uint64_t>(ring_tag::cancelled);
    return true;
}

void uring_backend::send_owed_cancels() noexcept {
    for (operation* work = _in_kernel.first(); work != nullptr; work = work->next) {
        auto& state = state_of(*work);
        if (state.cancel_owed) {
            if (!send_cancel(*work)) {
                return;
            }
            state.cancel_owed = false;
        }
    }
    _cancels_owed = false;
}

/// A cancellation that finds nothing has come too late: what it looked for has completed, in the
/// order of the entries. Whatever was cancelled and is still there was on its way from one queue of
/// the kernel to another, and is looked for again.
void uring_backend::owe_cancels_again() noexcept {
    for (operation* work = _in_kernel.first(); work != nullptr; work = work->next) {
        auto& state = state_of(*work);
        state.cancel_owed = state.cancel_owed || state.cancelled;
        _cancels_owed = _cancels_owed || state.cancel_owed;
    }
}

void uring_backend::leave_kernel(operation& work) noexcept {
    _in_kernel.remove(work);
    --*line_of(work).in_flight;
}

void uring_backend::take_operation(operation& work, const ring_completion& entry) noexcept {
    if (as<op::send>(work)) {
        return take_send(work, entry);
    }
    completion outcome{.result = entry.result, .more = (entry.flags & IORING_CQE_F_MORE) != 0};
    if (state_of(work).cancelled && (outcome.result == -EINTR || outcome.result == -EAGAIN)) {
        outcome.result = -ECANCELED;  // a kernel's worker was interrupted in a call that waits
    }
    if ((entry.flags & IORING_CQE_F_BUFFER) != 0) {
        const auto id = entry.flags >> IORING_CQE_BUFFER_SHIFT;
        ++_statistics.buffers_lent;
        if (outcome.result > 0) {
            outcome.buffer = _buffers.lend(id, static_cast<std::uint32_t>(outcome.result));
        } else {
            release({.id = id});
        }
    }
    if (!outcome.more) {
        leave_kernel(work);
    }
    if (as<op::open>(work)) {
        return take_open(work, outcome.result);
    }
    if (as<op::stat>(work)) {
        take_status(work, outcome.result);
    } else if (as<op::connect>(work)) {
        const int fd = static_cast<int>(state_of(work).value);
        if (outcome.result < 0) {
            ::close(fd);
        } else {
            outcome.result = fd;
        }
    } else if (as<op::receive>(work) && outcome.result == -ENOBUFS) {
        ++_statistics.out_of_buffers;
    }
    deliver(work, outcome);
}

/// A zero-copy send answers twice: with its result, then when its memory is free. Where its pages
/// can't be accounted (locked memory), it is sent again with a copy.
void uring_backend::take_send(operation& work, const ring_completion& entry) noexcept {
    auto& state = state_of(work);
    if ((entry.flags & IORING_CQE_F_NOTIF) == 0) {
        state.value = entry.result;
        if ((entry.flags & IORING_CQE_F_MORE) != 0) {
            return;
        }
    }
    const auto result = static_cast<std::int32_t>(state.value);
    leave_kernel(work);
    if (state.cancelled && (result == -EINTR || result == -EAGAIN)) {
        return deliver(work, {.result = -ECANCELED});
    }
    if (state.zero_copy && (result == -ENOMEM || result == -ENOBUFS) && !state.cancelled) {
        state = {.copy = true};
        return launch_again(work);
    }
    deliver(work, {.result = result});
}

void uring_backend::launch_again(operation& work) noexcept {
    if (launch(work) == launched::no_entry) {
        state_of(work).where = operation_state::in_line;
        line_of(work).waiting.push_front(work);
        ++_statistics.waiting;
    }
}

/// The kernel tries an open without waiting first, and so opens a FIFO that has no other end yet:
/// its reader would find an end there, its writer none to write to (ENXIO). The reader waits until
/// there is something, or a writer has come and gone: opened again, it would wait for another one.
/// The writer is opened again by a thread that waits.
void uring_backend::take_open(operation& work, std::int32_t result) noexcept {
    auto& state = state_of(work);
    const op::access mode = std::get<op::open>(work.what).mode;
    const bool waits = (mode == op::access::read && result >= 0 && is_fifo_now(result)) ||
                       (mode == op::access::write && result == -ENXIO);
    if (waits && !state.opens_again && !state.cancelled && !_stopping) {
        state = {.opens_again = true, .value = std::max(result, -1)};
        return launch_again(work);
    }
    if (state.opens_again && state.value >= 0) {
        const int fifo = static_cast<int>(state.value);
        if (result >= 0) {
            result = fifo;
        } else {
            ::close(fifo);
        }
    }
    deliver(work, {.result = result});
}

void uring_backend::take_status(operation& work, std::int32_t result) noexcept {
    const std::unique_ptr<kernel_status> slot(
        // NOLINTNEXTLINE(performance-no-int-to-ptr): it was put there when this was launched
        reinterpret_cast<kernel_status*>(state_of(work).value));
    if (result < 0 || _stopping) {
        return;
    }
    auto& status = *std::get<op::stat>(work.what).status;
    status.size = slot->stx_size;
    status.is_directory = S_ISDIR(slot->stx_mode);
    status.by_position = S_ISREG(slot->stx_mode) || S_ISBLK(slot->stx_mode);
    // A file system that doesn't say takes what a device's sector and page ask for.
    const bool told =
        (slot->stx_mask & statx_direct_alignment) != 0 && slot->stx_dio_mem_align != 0;
    status.memory_alignment = told ? slot->stx_dio_mem_align : 512;
    status.offset_alignment = told ? slot->stx_dio_offset_align : 4096;
}

/// The last step of every operation. Its owner may destroy it in complete().
void uring_backend::deliver(operation& work, const completion& outcome) noexcept {
    if (!outcome.more) {
        state_of(work).where = operation_state::idle;
        ++_statistics.completed;
    }
    if (!_stopping) [[likely]] {
        backend::finish(work, outcome);
        return;
    }
    _statistics.abandoned += !outcome.more;
    if (outcome.result >= 0 && yields_descriptor(work)) {
        close_now(outcome.result);
    }
}

void uring_backend::release(const lent_buffer& buffer) noexcept {
    --_statistics.buffers_lent;
    _buffers.release(buffer.id);
}

}  // namespace weir::io
