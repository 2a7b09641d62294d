// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/read_ahead.hh>

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include <broker/protocol/batch.hh>

#include <weir/core/assert.hh>

namespace weir::broker {

namespace {

// A reader that has not come back for so long may lose what was read for it to another.
constexpr duration patience = std::chrono::seconds(5);

}  // namespace

void disk_read::shorten(std::size_t max_bytes) {
    if (batches.bytes.size() <= max_bytes) {
        return;
    }
    const auto kept = batches_from(batches.bytes, -1, max_bytes);
    protocol::batch_walk rest(batches.bytes.subspan(kept.size()));
    if (const auto first = rest.next()) {
        next.offset = first->base_offset();
        next.position -= batches.bytes.size() - kept.size();
        batches.bytes = kept;
    }
}

read_ahead_memory::~read_ahead_memory() {
    WEIR_ASSERT(_followers.empty() && _used == 0);
}

std::optional<read_ahead::found> read_ahead::take(std::int64_t offset) {
    const auto of_reader =
        std::find_if(_followers.begin(), _followers.end(),
                     [offset](follower_ref each) { return each->at.offset == offset; });
    if (of_reader == _followers.end()) {
        return std::nullopt;
    }
    const follower_ref which = *of_reader;
    found left{which->at, std::move(which->coming)};
    _followers.erase(of_reader);
    _shared->_used -= which->bytes;
    _shared->_followers.erase(which);
    return left;
}

bool read_ahead::has_room(std::size_t bytes) {
    auto& all = _shared->_followers;
    const instant young = this_shard().now() - patience;
    for (auto each = all.begin(); each != all.end() && each->since < young;) {
        if (_shared->_used + bytes <= _shared->_limit) {
            break;
        }
        const auto next = std::next(each);
        each->of->drop(each);
        each = next;
    }
    return _shared->_used + bytes <= _shared->_limit;
}

void read_ahead::leave(const batch_place& at, future<disk_read> coming,
                       std::size_t bytes) noexcept {
    if (_followers.size() >= _limit) {
        drop(_followers.front());
    }
    try {
        _followers.reserve(_limit);
        _shared->_followers.push_back({this, at, {}, bytes, this_shard().now()});
    } catch (const std::bad_alloc&) {
        if (coming.valid()) {
            ++_dropped;
            std::move(coming).ignore();
        }
        return;
    }
    // From here on all has its place: it is charged as long as it stands there.
    _shared->_used += bytes;
    _shared->_followers.back().coming = std::move(coming);
    _followers.push_back(std::prev(_shared->_followers.end()));
}

void read_ahead::drop(follower_ref which) noexcept {
    if (which->coming.valid()) {
        ++_dropped;
        std::move(which->coming).ignore();
    }
    std::erase(_followers, which);
    _shared->_used -= which->bytes;
    _shared->_followers.erase(which);
}

void read_ahead::clear() noexcept {
    while (!_followers.empty()) {
        drop(_followers.back());
    }
}

}  // namespace weir::broker
