// SPDX-License-Identifier: Apache-2.0
#include <weir/net/frame.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <boost/endian/conversion.hpp>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>

namespace weir::net {

namespace {

// A frame gets its memory in steps of at least this, doubling, as its bytes arrive.
constexpr std::size_t first_step = 64 * 1024;

}  // namespace

future<frame_reader::progress> frame_reader::more(instant deadline) {
    received arrived = co_await _from.receive(deadline);
    switch (arrived.what()) {
        case received::status::end:
            co_return progress::end;
        case received::status::timed_out:
            co_return progress::late;
        case received::status::data:
            _rest = std::move(arrived);
            break;
    }
    co_return progress::bytes;
}

future<frame> frame_reader::next() {
    if (_rest.bytes().empty()) {
        _rest = {};  // gives the loan back while we wait
        switch (co_await more(this_shard().now() + _options.idle_max)) {
            case progress::end:
                co_return frame(frame::status::end);
            case progress::late:
                co_return frame(frame::status::idle);
            case progress::bytes:
                break;
        }
    }
    const instant deadline = this_shard().now() + _options.frame_time_max;
    unsigned char prefix[4];
    for (std::size_t filled = 0; filled < sizeof(prefix);) {
        if (_rest.bytes().empty()) {
            const progress made = co_await more(deadline);
            if (made != progress::bytes) {
                co_return frame(made == progress::end ? frame::status::cut
                                                      : frame::status::too_slow);
            }
        }
        prefix[filled++] = std::to_integer<unsigned char>(_rest.bytes()[0]);
        _rest.consume(1);
    }
    const std::int32_t claimed = boost::endian::load_big_s32(prefix);
    if (claimed < 0 || static_cast<std::size_t>(claimed) > _options.frame_bytes_max) {
        frame result(frame::status::refused);
        result._claimed = claimed;
        co_return result;
    }
    co_return co_await read_body(static_cast<std::size_t>(claimed), deadline);
}

future<frame> frame_reader::read_body(std::size_t size, instant deadline) {
    frame body(frame::status::complete);
    std::size_t capacity = 0;
    for (std::size_t filled = 0; filled < size;) {
        if (filled == capacity) {
            const std::size_t grown = std::min(size, std::max(first_step, capacity * 2));
            if (!co_await grow(body, filled, grown, deadline)) {
                co_return frame(frame::status::too_slow);
            }
            capacity = grown;
        }
        if (_rest.bytes().empty()) {
            _rest = {};
            const progress made = co_await more(deadline);
            if (made != progress::bytes) {
                co_return frame(made == progress::end ? frame::status::cut
                                                      : frame::status::too_slow);
            }
        }
        const std::size_t count = std::min(_rest.bytes().size(), capacity - filled);
        std::memcpy(body._memory.get() + filled, _rest.bytes().data(), count);
        _rest.consume(count);
        filled += count;
    }
    body._bytes = {body._memory.get(), size};
    co_return body;
}

// Gives the body more memory, once the budget has it. returns false if that took too long.
future<bool> frame_reader::grow(frame& body, std::size_t filled, std::size_t capacity,
                                instant deadline) {
    if (_budget != nullptr) {
        const std::size_t missing = capacity - body._charge.count();
        semaphore_units more = _budget->try_acquire(missing);
        if (!more) {
            abort_source late;
            late.abort_at(deadline);
            try {
                more = co_await _budget->acquire(missing, late);
            } catch (const error&) {
                co_return false;
            }
        }
        if (body._charge) {
            body._charge.absorb(std::move(more));
        } else {
            body._charge = std::move(more);
        }
    }
    std::unique_ptr<std::byte[]> larger(new std::byte[capacity]);
    if (filled > 0) {
        std::memcpy(larger.get(), body._memory.get(), filled);
    }
    body._memory = std::move(larger);
    co_return true;
}

}  // namespace weir::net
