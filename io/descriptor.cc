// SPDX-License-Identifier: Apache-2.0
#include <weir/io/descriptor.hh>

#include <algorithm>
#include <cerrno>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/core/sleep.hh>
#include <weir/io/budget.hh>
#include <weir/io/parts.hh>
#include <weir/io/submit.hh>

namespace weir::io {

namespace {

/// Who shares a terminal or pipe with us may have set it to O_NONBLOCK, which is ours then, too: it
/// says EAGAIN instead of waiting, and all that is left is to ask again.
constexpr duration ask_again = std::chrono::milliseconds(1);

std::size_t piece_bytes_max() noexcept {
    return this_backend().budget().options().operation_bytes_max;
}

future<> pause(abort_source* give_up) {
    return give_up != nullptr ? sleep_for(ask_again, *give_up) : sleep_for(ask_again);
}

}  // namespace

future<descriptor::place> descriptor::ask(const char* operation) {
    place found;
    const std::int32_t result =
        co_await submit(op::position{_number, false, &found.position, &found.appends});
    if (result < 0 && result != -ESPIPE) {
        throw error::from_errno(operation, _name, -result);
    }
    found.known = result == 0;
    co_return found;
}

/// Others may write there, too (a log on the standard error, in the same file): so it is asked
/// before each piece, and set after it.
future<> descriptor::move_to(const place& from, std::uint64_t done, const char* operation) {
    std::uint64_t next = from.position + done;
    const std::int32_t result = co_await submit(op::position{_number, true, &next, nullptr});
    if (result < 0) {
        throw error::from_errno(operation, _name, -result);
    }
}

future<std::size_t> descriptor::read(std::span<std::byte> into, abort_source* give_up) {
    const std::size_t wanted = std::min<std::size_t>(into.size(), piece_bytes_max());
    const iovec part{into.data(), wanted};
    while (wanted != 0) {
        const place at = co_await ask("read");
        const std::int32_t result =
            at.known ? co_await submit(op::read{_number, at.position, &part, 1}, give_up)
                     : co_await submit(op::read_stream{_number, into.data(),
                                                       static_cast<std::uint32_t>(wanted)},
                                       give_up);
        if (result == -EAGAIN && !at.known) {
            co_await pause(give_up);
            continue;
        }
        if (result < 0) {
            throw error::from_errno("read", _name, -result);
        }
        if (at.known && result != 0) {
            co_await move_to(at, static_cast<std::uint64_t>(result), "read");
        }
        co_return static_cast<std::size_t>(result);
    }
    co_return 0;
}

future<> descriptor::write(std::span<iovec> parts, abort_source* give_up) {
    parts_left left(parts);
    while (!left.empty()) {
        const parts_left::piece next = left.take(piece_bytes_max());
        const place at = co_await ask("write");
        std::int32_t result = 0;
        if (at.known) {
            result =
                co_await submit(op::write{_number, at.position, next.first, next.count}, give_up);
        } else {
            result = co_await submit(op::write_stream{_number, next.first, next.count}, give_up);
        }
        left.give_back();
        if (result == -EAGAIN && !at.known) {
            co_await pause(give_up);
            continue;
        }
        if (result <= 0) {
            throw error::from_errno("write", _name, result < 0 ? -result : ENOSPC);
        }
        left.advance(static_cast<std::size_t>(result));
        if (at.known && !at.appends) {
            co_await move_to(at, static_cast<std::uint64_t>(result), "write");
        }
    }
}

}  // namespace weir::io
