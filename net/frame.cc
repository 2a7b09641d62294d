// SPDX-License-Identifier: Apache-2.0
#include <weir/net/frame.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <boost/endian/conversion.hpp>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::net {

future<frame_reader::progress> frame_reader::more(instant deadline) {
    _rest = {};  // gives the loan back while we wait
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
    const std::size_t first = std::min(size, first_step);
    const bool is_long = size > first_step;
    if (!is_long && !co_await charge(body, size, deadline)) {
        co_return frame(frame::status::too_slow);
    }
    body._memory.reset(new std::byte[first]);
    frame::status filled = co_await fill(body, 0, first, deadline);
    if (filled == frame::status::complete && is_long) {
        if (!co_await charge(body, size, deadline)) {
            co_return frame(frame::status::too_slow);
        }
        std::unique_ptr<std::byte[]> whole(new std::byte[size]);
        std::memcpy(whole.get(), body._memory.get(), first);
        body._memory = std::move(whole);
        filled = co_await fill(body, first, size, deadline);
    }
    if (filled != frame::status::complete) {
        co_return frame(filled);
    }
    probe("frame");
    body._bytes = {body._memory.get(), size};
    co_return body;
}

future<frame::status> frame_reader::fill(frame& body, std::size_t from, std::size_t to,
                                         instant deadline) {
    while (from < to) {
        if (_rest.bytes().empty()) {
            const progress made = co_await more(deadline);
            if (made != progress::bytes) {
                co_return made == progress::end ? frame::status::cut : frame::status::too_slow;
            }
        }
        const std::size_t count = std::min(_rest.bytes().size(), to - from);
        std::memcpy(body._memory.get() + from, _rest.bytes().data(), count);
        _rest.consume(count);
        from += count;
    }
    co_return frame::status::complete;
}

// Takes a frame's share of the budget. returns false if that took too long.
future<bool> frame_reader::charge(frame& body, std::size_t size, instant deadline) {
    semaphore* const budget = size > _options.large_frame_bytes ? _large : _budget;
    if (budget == nullptr || size == 0) {
        co_return true;
    }
    body._charge = budget->try_acquire(size);
    if (!body._charge) {
        abort_source late;
        late.abort_at(deadline);
        try {
            body._charge = co_await budget->acquire(size, late);
        } catch (const error&) {
            co_return false;
        }
    }
    co_return true;
}

}  // namespace weir::net
