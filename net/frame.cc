// SPDX-License-Identifier: Apache-2.0
#include <weir/net/frame.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <boost/endian/conversion.hpp>

#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::net {

namespace {

// What comes is charged in such steps.
constexpr std::size_t step_bytes = 16 * 1024;
// A frame's place is at most so many times what has come of it.
constexpr std::size_t growth = 4;

}  // namespace

/// A frame that comes.
struct frame_reader::filling {
    frame body;
    std::size_t size;       // in the end
    std::size_t have = 0;   // of it
    std::size_t place = 0;  // for so many bytes

    void make_place(std::size_t needed) {
        if (needed <= place) {
            return;
        }
        const std::size_t larger =
            std::min(size, std::max({needed, growth * have, uncharged_bytes}));
        std::unique_ptr<std::byte[]> memory(new std::byte[larger]);
        if (have > 0) {
            std::memcpy(memory.get(), body._memory.get(), have);
        }
        body._memory = std::move(memory);
        place = larger;
    }
};

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
    peer_deadline deadline(_options.frame_time_max);
    unsigned char prefix[4];
    for (std::size_t filled = 0; filled < sizeof(prefix);) {
        if (_rest.bytes().empty()) {
            const progress made = co_await more(deadline.due());
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

future<frame> frame_reader::read_body(std::size_t size, peer_deadline& deadline) {
    filling into{.body = frame(frame::status::complete), .size = size};
    while (into.have < size) {
        if (_rest.bytes().empty()) {
            const progress made = co_await more(deadline.due());
            if (made != progress::bytes) {
                co_return frame(made == progress::end ? frame::status::cut
                                                      : frame::status::too_slow);
            }
        }
        const std::size_t count = std::min(_rest.bytes().size(), size - into.have);
        if (_budget != nullptr) {
            co_await charge(into, into.have + count, deadline);
        }
        into.make_place(into.have + count);
        std::memcpy(into.body._memory.get() + into.have, _rest.bytes().data(), count);
        _rest.consume(count);
        into.have += count;
    }
    probe("frame");
    into.body._bytes = {into.body._memory.get(), size};
    co_return std::move(into.body);
}

future<> frame_reader::charge(filling& into, std::size_t needed, peer_deadline& deadline) {
    const bool whole = needed == into.size;
    if (needed <= uncharged_bytes && !whole) {
        return make_ready_future();
    }
    const std::size_t steps = (needed + step_bytes - 1) / step_bytes * step_bytes;
    future<> charged =
        _budget->charge(into.body._charge, std::min(steps, into.size), into.size, whole);
    if (charged.available()) [[likely]] {
        return charged;
    }
    return [](future<> waiting, peer_deadline& of) -> future<> {
        const peer_deadline::our_turn wait(of);
        co_await std::move(waiting);
    }(std::move(charged), deadline);
}

}  // namespace weir::net
