// SPDX-License-Identifier: Apache-2.0
#include <weir/net/frame.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <boost/endian/conversion.hpp>

#include <weir/core/coroutine.hh>

namespace weir::net {

namespace {

// A large frame gets its memory in steps of at least this, as its bytes arrive.
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
    std::byte prefix[4];
    std::size_t size = sizeof(prefix);
    std::size_t capacity = sizeof(prefix);
    std::size_t filled = 0;
    std::unique_ptr<std::byte[]> memory;  // null while the prefix is read
    for (;;) {
        const std::size_t count = std::min(_rest.bytes().size(), capacity - filled);
        std::memcpy((memory ? memory.get() : prefix) + filled, _rest.bytes().data(), count);
        _rest.consume(count);
        filled += count;
        if (filled == size && memory) {
            break;
        }
        if (filled == size) {
            const std::int32_t claimed =
                boost::endian::load_big_s32(reinterpret_cast<const unsigned char*>(prefix));
            if (claimed < 0 || static_cast<std::size_t>(claimed) > _options.frame_bytes_max) {
                frame result(frame::status::refused);
                result._claimed = claimed;
                co_return result;
            }
            size = static_cast<std::size_t>(claimed);
            capacity = std::min(size, first_step);
            memory.reset(new std::byte[capacity]);
            filled = 0;
            if (size == 0) {
                break;
            }
        } else if (filled == capacity) {
            const std::size_t grown = std::min(size, capacity * 2);
            std::unique_ptr<std::byte[]> larger(new std::byte[grown]);
            std::memcpy(larger.get(), memory.get(), filled);
            memory = std::move(larger);
            capacity = grown;
        }
        if (_rest.bytes().empty()) {
            _rest = {};
            switch (co_await more(deadline)) {
                case progress::end:
                    co_return frame(frame::status::cut);
                case progress::late:
                    co_return frame(frame::status::too_slow);
                case progress::bytes:
                    break;
            }
        }
    }
    frame result(frame::status::complete);
    result._bytes = {memory.get(), size};
    result._memory = std::move(memory);
    co_return result;
}

}  // namespace weir::net
