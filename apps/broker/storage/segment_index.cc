// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment_index.hh>

#include <algorithm>

#include <weir/core/assert.hh>

namespace weir::broker {

using protocol::load_big;
using protocol::store_big;

bool segment_index::can_hold(const protocol::batch_view& batch,
                             std::uint64_t position) const noexcept {
    return batch.last_offset() >= _base_offset && batch.last_offset() - _base_offset <= INT32_MAX &&
           position <= INT32_MAX;
}

void segment_index::begin_at(std::uint64_t position, std::int64_t offset) noexcept {
    _begins = {position, offset};
}

void segment_index::put_before(segment_index earlier) {
    // What reserve() promised stays: a commit may be on its way.
    earlier._offsets.reserve(earlier._offsets.size() + _offsets.capacity());
    earlier._times.reserve(earlier._times.size() + _times.capacity());
    earlier._offsets.insert(earlier._offsets.end(), _offsets.begin(), _offsets.end());
    for (const time_entry& each : _times) {
        if (each.timestamp > earlier._max_timestamp) {
            earlier._times.push_back(each);
        }
    }
    _offsets.swap(earlier._offsets);
    _times.swap(earlier._times);
    _begins = earlier._begins;
    if (_last.relative_offset < 0) {
        _last = earlier._last;
        _since_entry = earlier._since_entry;
    }
    if (earlier._max_timestamp >= _max_timestamp) {
        _max_timestamp = earlier._max_timestamp;
        _max_timestamp_at = earlier._max_timestamp_at;
    }
}

void segment_index::add(const protocol::batch_view& batch, std::uint64_t position) {
    WEIR_ASSERT(can_hold(batch, position));
    const std::int64_t relative = batch.last_offset() - _base_offset;
    _last = {static_cast<std::int32_t>(relative), static_cast<std::int32_t>(position)};
    if (batch.max_timestamp() > _max_timestamp) {
        _max_timestamp = batch.max_timestamp();
        _max_timestamp_at = _last.relative_offset;
    }
    if (_since_entry > _interval_bytes) {
        if (_offsets.size() >= 2 * _most) {
            halve();
        }
        _offsets.push_back(_last);
        add_time();
        _since_entry = 0;
    }
    _since_entry += batch.bytes().size();
}

void segment_index::reserve(std::size_t bytes) {
    const std::size_t more = bytes / _interval_bytes + 1;
    const auto reserve_one = [more](auto& entries) {
        if (entries.capacity() - entries.size() < more) {
            entries.reserve(std::max(2 * entries.size(), entries.size() + more));
        }
    };
    reserve_one(_offsets);
    reserve_one(_times);
}

void segment_index::halve() noexcept {
    const auto halve_one = [this](auto& entries) {
        if (entries.size() < _most) {
            return;
        }
        std::size_t kept = 0;
        for (std::size_t i = 0; i < entries.size(); i += 2) {
            entries[kept++] = entries[i];
        }
        entries.resize(kept);
    };
    halve_one(_offsets);
    halve_one(_times);
    _interval_bytes *= 2;
}

void segment_index::drop_entries() noexcept {
    std::vector<offset_entry>().swap(_offsets);
    std::vector<time_entry>().swap(_times);
    _since_entry = 0;
}

void segment_index::add_time() {
    if (_max_timestamp > (_times.empty() ? -1 : _times.back().timestamp)) {
        _times.push_back({_max_timestamp, _max_timestamp_at});
    }
}

void segment_index::finish() {
    if (_last.relative_offset < 0) {
        return;
    }
    if (_offsets.empty() || _offsets.back().relative_offset != _last.relative_offset) {
        _offsets.push_back(_last);
    }
    add_time();
    _since_entry = 0;
}

void segment_index::thin(std::size_t limit) {
    const auto thin_one = [limit](auto& entries) {
        if (entries.size() > limit) {
            auto kept = std::remove_reference_t<decltype(entries)>();
            kept.reserve(limit);
            for (std::size_t i = 0; i < limit; ++i) {
                kept.push_back(entries[i * (entries.size() - 1) / (limit - 1)]);
            }
            entries = std::move(kept);
        }
        entries.shrink_to_fit();
    };
    thin_one(_offsets);
    thin_one(_times);
}

segment_index::place segment_index::place_before(std::int64_t offset) const noexcept {
    const auto after = std::upper_bound(_offsets.begin(), _offsets.end(), offset - _base_offset,
                                        [](std::int64_t relative, const offset_entry& entry) {
                                            return relative < entry.relative_offset;
                                        });
    if (after == _offsets.begin()) {
        return {_begins.position, _begins.offset, -1};
    }
    const offset_entry& before = *std::prev(after);
    return {static_cast<std::uint64_t>(before.position), -1, _base_offset + before.relative_offset};
}

std::int64_t segment_index::offset_before(std::int64_t timestamp) const noexcept {
    const auto after = std::lower_bound(
        _times.begin(), _times.end(), timestamp,
        [](const time_entry& entry, std::int64_t sought) { return entry.timestamp < sought; });
    return after == _times.begin() ? _base_offset
                                   : _base_offset + std::prev(after)->relative_offset;
}

std::optional<segment_index::last_batch> segment_index::last() const noexcept {
    if (_last.relative_offset < 0) {
        return std::nullopt;
    }
    return last_batch{_base_offset + _last.relative_offset,
                      static_cast<std::uint64_t>(_last.position)};
}

std::vector<std::byte> segment_index::encode_offsets() const {
    std::vector<std::byte> bytes(_offsets.size() * offset_entry_bytes);
    std::byte* to = bytes.data();
    for (const offset_entry& entry : _offsets) {
        store_big(to, entry.relative_offset);
        store_big(to + 4, entry.position);
        to += offset_entry_bytes;
    }
    return bytes;
}

std::vector<std::byte> segment_index::encode_times() const {
    std::vector<std::byte> bytes(_times.size() * time_entry_bytes);
    std::byte* to = bytes.data();
    for (const time_entry& entry : _times) {
        store_big(to, entry.timestamp);
        store_big(to + 8, entry.relative_offset);
        to += time_entry_bytes;
    }
    return bytes;
}

bool segment_index::decode(std::span<const std::byte> offsets, std::span<const std::byte> times) {
    if (offsets.size() % offset_entry_bytes != 0 || times.size() % time_entry_bytes != 0) {
        return false;
    }
    *this = segment_index(_base_offset, _interval_bytes, _most);
    for (; !offsets.empty(); offsets = offsets.subspan(offset_entry_bytes)) {
        const offset_entry entry{load_big<std::int32_t>(offsets.data()),
                                 load_big<std::int32_t>(offsets.data() + 4)};
        if (entry.relative_offset <= _last.relative_offset || entry.position < 0 ||
            (!_offsets.empty() && entry.position <= _last.position)) {
            return false;
        }
        _offsets.push_back(entry);
        _last = entry;
    }
    for (; !times.empty(); times = times.subspan(time_entry_bytes)) {
        const time_entry entry{load_big<std::int64_t>(times.data()),
                               load_big<std::int32_t>(times.data() + 8)};
        if (entry.timestamp <= _max_timestamp || entry.relative_offset > _last.relative_offset ||
            (!_times.empty() && entry.relative_offset <= _times.back().relative_offset)) {
            return false;
        }
        _times.push_back(entry);
        _max_timestamp = entry.timestamp;
        _max_timestamp_at = entry.relative_offset;
    }
    return true;
}

bool segment_index::decode_last(std::span<const std::byte> offset,
                                std::span<const std::byte> time) {
    const bool known = decode(offset, time);
    drop_entries();
    return known;
}

}  // namespace weir::broker
