// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/recent_batches.hh>

#include <algorithm>

#include <broker/protocol/batch.hh>

#include <weir/core/assert.hh>

namespace weir::broker {

recent_memory::~recent_memory() {
    WEIR_ASSERT(_entries.empty());
}

void recent_batches::add(std::int64_t base_offset, std::int64_t next_offset, chunk bytes) {
    if (!_entries.empty() && _entries.back()->next_offset != base_offset) {
        clear();  // a run is unbroken
    }
    const std::size_t size = bytes.owner->size();
    std::list<recent_memory::entry> added;
    try {
        added.push_back({this, base_offset, next_offset, std::move(bytes)});
        _entries.push_back(added.begin());
    } catch (const std::bad_alloc&) {
        clear();  // without memory they are read from the device
        return;
    }
    _shared._entries.splice(_shared._entries.end(), added);
    _shared._used += size;
    while (_shared._used > _shared._limit) {
        _shared._entries.front().of->drop_oldest();
    }
}

void recent_batches::drop_oldest() noexcept {
    _shared._used -= _entries.front()->bytes.owner->size();
    _shared._entries.erase(_entries.front());
    _entries.pop_front();
}

void recent_batches::clear() noexcept {
    while (!_entries.empty()) {
        drop_oldest();
    }
}

std::deque<recent_batches::entry_ref>::const_iterator recent_batches::entry_of(
    std::int64_t offset) const {
    const auto at = std::upper_bound(
        _entries.begin(), _entries.end(), offset,
        [](std::int64_t sought, const entry_ref& entry) { return sought < entry->next_offset; });
    WEIR_ASSERT(at != _entries.end());
    return at;
}

recent_batches::extent recent_batches::measure(std::int64_t offset, std::size_t enough) const {
    auto at = entry_of(offset);
    const auto first = batches_from((*at)->bytes.bytes, offset, 0);
    const auto& commit = (*at)->bytes.bytes;
    std::size_t bytes = static_cast<std::size_t>(commit.data() + commit.size() - first.data());
    while (bytes < enough && ++at != _entries.end()) {
        bytes += (*at)->bytes.bytes.size();
    }
    return {bytes, first.size()};
}

std::size_t recent_batches::read(std::int64_t offset, std::size_t max_bytes, std::size_t max_chunks,
                                 std::vector<chunk>& into) const {
    auto at = entry_of(offset);
    std::size_t total = 0;
    for (std::size_t chunks = 0; at != _entries.end() && chunks < max_chunks; ++at, ++chunks) {
        const chunk& from = (*at)->bytes;
        const auto wanted =
            batches_from(from.bytes, offset, max_bytes - std::min(total, max_bytes));
        if (total > 0 && total + wanted.size() > max_bytes) {
            break;
        }
        into.push_back({from.owner, wanted});
        total += wanted.size();
        offset = (*at)->next_offset;
        if (wanted.data() + wanted.size() != from.bytes.data() + from.bytes.size()) {
            break;
        }
    }
    return total;
}

std::span<const std::byte> batches_from(std::span<const std::byte> bytes, std::int64_t offset,
                                        std::size_t max_bytes) {
    protocol::batch_walk walk(bytes);
    const std::byte* first = nullptr;
    std::size_t size = 0;
    while (const auto batch = walk.next()) {
        if (first == nullptr && batch->last_offset() < offset) {
            continue;
        }
        if (first != nullptr && size + batch->bytes().size() > max_bytes) {
            break;
        }
        first = first ? first : batch->bytes().data();
        size += batch->bytes().size();
    }
    WEIR_ASSERT(first != nullptr);
    return {first, size};
}

}  // namespace weir::broker
