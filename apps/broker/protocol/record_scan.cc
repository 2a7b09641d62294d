// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/record_scan.hh>

#include <algorithm>

namespace weir::broker::protocol {

namespace {

constexpr std::int64_t unzigzag(std::uint64_t value) noexcept {
    return static_cast<std::int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

}  // namespace

record_scan::record_scan(const batch_view& batch, scan_limits limits)
    : _base_timestamp(batch.base_timestamp()), _left(batch.record_count()), _limits(limits) {
    const auto how = batch.codec();
    if (_left < 0 || !how) {
        fail(stop::damaged);
    } else if (how != codec::none && batch.records().size() > limits.closed_bytes) {
        fail(stop::limit);
    } else {
        _bytes = open_bytes(*how, batch.records(), limits.opened_bytes);
    }
}

std::optional<record_place> record_scan::next() {
    if (_stop != stop::end) {
        return std::nullopt;
    }
    _in_record = false;
    if (_left == 0) {
        if (_stop == stop::end && (!_piece.empty() || refill())) {
            fail(stop::damaged);  // more than the batch counts
        }
        return std::nullopt;
    }
    if (!take_element()) {
        return std::nullopt;
    }
    --_left;
    record_place place;
    if (!read_record(place)) {
        return std::nullopt;
    }
    return place;
}

bool record_scan::read_record(record_place& place) {
    std::int32_t length = 0;
    if (!varint(length) || length < 0) {
        return fail(stop::damaged);
    }
    _record_end = taken() + static_cast<std::uint64_t>(length);
    _in_record = true;
    std::int64_t time_delta = 0;
    if (!skip(1) || !varlong(time_delta) || !varint(place.offset_delta) || !skip_sized(true) ||
        !skip_sized(true) || !skip_headers() || taken() != _record_end) {
        return fail(stop::damaged);
    }
    if (__builtin_add_overflow(_base_timestamp, time_delta, &place.timestamp)) {
        return fail(stop::time);
    }
    return true;
}

bool record_scan::skip_headers() {
    std::int32_t headers = 0;
    if (!varint(headers) || headers < 0) {
        return false;
    }
    for (; headers > 0; --headers) {
        if (!take_element() || !skip_sized(false) || !skip_sized(true)) {
            return false;
        }
    }
    return true;
}

bool record_scan::take_element() {
    if (_limits.elements == 0) {
        return fail(stop::limit);
    }
    --_limits.elements;
    return true;
}

bool record_scan::skip_sized(bool may_be_null) {
    std::int32_t size = 0;
    if (!varint(size) || size < (may_be_null ? -1 : 0)) {
        return false;
    }
    return skip(std::max(size, 0));
}

bool record_scan::skip(std::int64_t bytes) {
    if (_in_record && static_cast<std::uint64_t>(bytes) > _record_end - taken()) {
        return false;
    }
    while (static_cast<std::uint64_t>(bytes) > _piece.size()) {
        bytes -= static_cast<std::int64_t>(_piece.size());
        if (!refill()) {
            return false;
        }
    }
    _piece = _piece.subspan(static_cast<std::size_t>(bytes));
    return true;
}

/// returns  whether there are further bytes; if not, the scan has stopped or they have ended
bool record_scan::refill() {
    _piece = {};
    const auto next = _bytes->next();
    if (!next) {
        return fail(_bytes->exceeded() ? stop::limit : stop::damaged);
    }
    if (_limits.opened_bytes - std::min<std::uint64_t>(_opened, _limits.opened_bytes) <
        next->size()) {
        return fail(stop::limit);
    }
    _opened += next->size();
    _piece = *next;
    return !next->empty();
}

bool record_scan::take_byte(std::uint8_t& byte) {
    if ((_in_record && taken() == _record_end) || (_piece.empty() && !refill())) {
        return false;
    }
    byte = std::to_integer<std::uint8_t>(_piece.front());
    _piece = _piece.subspan(1);
    return true;
}

bool record_scan::base_128(int last_shift, std::uint64_t& value) {
    value = 0;
    for (int shift = 0; shift <= last_shift; shift += 7) {
        std::uint8_t byte = 0;
        if (!take_byte(byte)) {
            return false;
        }
        value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

bool record_scan::varint(std::int32_t& value) {
    std::uint64_t raw = 0;
    if (!base_128(28, raw) || raw > 0xffffffff) {
        return false;
    }
    value = static_cast<std::int32_t>(unzigzag(raw));
    return true;
}

bool record_scan::varlong(std::int64_t& value) {
    std::uint64_t raw = 0;
    if (!base_128(63, raw)) {
        return false;
    }
    value = unzigzag(raw);
    return true;
}

/// The first reason sticks.
bool record_scan::fail(stop why) noexcept {
    _stop = _stop == stop::end ? why : _stop;
    return false;
}

}  // namespace weir::broker::protocol
