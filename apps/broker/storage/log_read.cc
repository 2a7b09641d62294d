// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <broker/protocol/record_scan.hh>
#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <broker/storage/off_reactor.hh>
#include <broker/storage/segment_walk.hh>
#include <fmt/format.h>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

/// Commits of one answer that come from memory.
constexpr std::size_t max_chunks = 4096;
/// Pieces below this are put together: a vectored send has a price for each.
constexpr std::size_t copy_below = std::size_t{16} << 10;
/// What a look for a time reads at once.
constexpr std::size_t look_bytes = std::size_t{64} << 10;

bool is_small(const chunk& piece) noexcept {
    return piece.bytes.size() < copy_below || piece.bytes.size() * 2 < piece.owner->size();
}

/// Puts small pieces that follow one another into memory of their own, so that there are few, and
/// that none keeps much more memory than it has bytes.
void put_together(std::vector<chunk>& pieces) {
    std::size_t kept = 0;
    for (std::size_t first = 0; first < pieces.size();) {
        std::size_t bytes = 0;
        std::size_t end = first;
        for (; end < pieces.size() && is_small(pieces[end]); ++end) {
            bytes += pieces[end].bytes.size();
        }
        const bool worth_it =
            end - first > 1 || (end > first && pieces[first].owner->size() > page_ceiling(bytes));
        if (!worth_it) {
            pieces[kept++] = std::move(pieces[first++]);
            continue;
        }
        auto copy = std::make_shared<io::aligned_buffer>(io::aligned_buffer::unset(bytes));
        std::byte* to = copy->data();
        for (; first < end; ++first) {
            to = std::copy(pieces[first].bytes.begin(), pieces[first].bytes.end(), to);
        }
        pieces[kept++] = {copy, std::span<const std::byte>(copy->data(), bytes)};
    }
    pieces.resize(kept);
}

}  // namespace

read_outlook log::outlook(std::int64_t offset, std::size_t enough) const noexcept {
    if (offset < start_offset() || offset >= _end_offset) {
        return {};
    }
    if (_recent.holds(offset)) {
        const auto found = _recent.measure(offset, enough);
        return {found.bytes, found.first};
    }
    const segment& from = *segment_of(offset);
    if (&from != _segments.back().get() || !from.index.covers(offset)) {
        return {enough};  // a whole file behind: as Kafka, that is never too little
    }
    return {std::min<std::size_t>(enough, from.size - from.index.place_before(offset).position)};
}

future<read_result> log::read(std::int64_t offset, std::size_t max_bytes, std::size_t first_max) {
    read_result result{.start_offset = start_offset(), .end_offset = _end_offset};
    if (offset < result.start_offset || offset > result.end_offset) {
        result.how = read_result::outcome::out_of_range;
        co_return result;
    }
    if (offset == result.end_offset) {
        co_return result;
    }
    max_bytes = std::min(max_bytes, _options.max_read_bytes);
    if (_recent.holds(offset)) {
        ++_metrics.reads_from_memory;
        const std::size_t first = _recent.measure(offset, 0).first;
        if (first > max_bytes && first > first_max) {
            result.first_bytes = first;
            co_return result;
        }
        result.bytes = _recent.read(offset, max_bytes, max_chunks, result.chunks);
        put_together(result.chunks);
        co_return result;
    }
    ++_metrics.reads_from_disk;
    disk_read got = co_await read_on(offset, max_bytes, first_max, _readers.hold());
    result.first_bytes = got.first_bytes;
    if (got.first_bytes == 0) {
        result.bytes = got.batches.bytes.size();
        result.chunks.push_back(std::move(got.batches));
        put_together(result.chunks);
    }
    co_return result;
}

/// Reads from where an earlier read ended, if one ended here, else from where the index says. Who
/// comes a second time is read ahead for.
future<disk_read> log::read_on(std::int64_t offset, std::size_t max_bytes, std::size_t first_max,
                               gate::holder) {
    disk_read got;
    auto earlier = _ahead.take(offset);
    if (earlier && earlier->coming.valid()) {
        got = co_await std::move(earlier->coming);
        got.shorten(max_bytes);
        if (got.batches.bytes.size() > max_bytes && got.batches.bytes.size() > first_max) {
            got = {.batches = {}, .next = {}, .first_bytes = got.batches.bytes.size()};
        }
    } else if (earlier) {
        got = co_await read_from_disk({earlier->at, -1}, offset, max_bytes, first_max);
    } else {
        if (!segment_of(offset)->index.covers(offset)) {
            co_await look_through(segment_of(offset)->base_offset, false);
        }
        const segment& from = *segment_of(offset);
        const segment_index::place start = from.index.place_before(offset);
        got = co_await read_from_disk(
            {{start.first_offset, from.base_offset, start.position}, start.last_offset}, offset,
            max_bytes, first_max);
    }
    if (got.first_bytes > 0) {
        co_return got;
    }
    follow(got.next, earlier.has_value(), max_bytes);
    co_return got;
}

/// Remembers where a reader will go on, if that is on the device.
void log::follow(batch_place next, bool again, std::size_t max_bytes) {
    if (!_ahead.enabled() || _closed || stopped() || next.offset >= _end_offset ||
        _recent.holds(next.offset)) {
        return;
    }
    const segment& from = *segment_of(next.offset);
    if (from.base_offset != next.segment_base) {
        next = {next.offset, from.base_offset, 0};
    }
    const std::size_t bytes = max_bytes + 2 * page_size;
    if (!again || !_ahead.has_room(bytes)) {
        _ahead.leave(next, {}, 0);
        return;
    }
    future<disk_read> coming;
    try {
        coming = read_ahead_at(next, max_bytes, _readers.hold());
    } catch (const std::bad_alloc&) {
        return;  // who reads on reads for itself
    }
    ++_metrics.reads_ahead;
    _ahead.leave(next, std::move(coming), bytes);
}

future<disk_read> log::read_ahead_at(batch_place at, std::size_t max_bytes, gate::holder) {
    co_return co_await read_from_disk({at, -1}, at.offset, max_bytes);
}

segment* log::segment_of(std::int64_t offset) const noexcept {
    const auto after = std::upper_bound(
        _segments.begin(), _segments.end(), offset,
        [](std::int64_t sought, const auto& each) { return sought < each->base_offset; });
    WEIR_ASSERT(after != _segments.begin());
    return std::prev(after)->get();
}

/// The segment's file, from the few that are kept open for reading.
future<std::shared_ptr<io::file>> log::file_for(std::int64_t base_offset) {
    if (auto kept = _read_files.find(this, base_offset)) {
        co_return kept;
    }
    auto file = std::make_shared<io::file>(co_await open_segment_file(
        segment_path(_directory, base_offset, log_suffix), _options, io::op::access::read));
    if (!_closed) {
        _read_files.keep(this, base_offset, file);
    }
    co_return file;
}

future<disk_read> log::read_from_disk(known_batch start, std::int64_t offset, std::size_t max_bytes,
                                      std::size_t first_max) {
    const std::int64_t base_offset = start.at.segment_base;
    // Copied: while this waits the segment may grow, and reopen() may replace it.
    const std::uint64_t end = segment_of(base_offset)->size;
    const std::int64_t before = segment_of(base_offset)->next_offset;
    std::uint64_t position = start.at.position;
    // What the first batch of the next window must be, to trust neither the index nor the file.
    std::int64_t starts_at = start.at.offset;
    std::int64_t ends_at = start.last_offset;
    std::size_t wanted = max_bytes + 2 * page_size;
    bool stepped_over = false;
    const std::shared_ptr<io::file> file = co_await file_for(base_offset);
    for (;;) {
        const std::uint64_t first = page_floor(position);
        const std::uint64_t last = std::min(end, position + wanted);
        auto pages = std::make_shared<io::aligned_buffer>(
            io::aligned_buffer::unset(page_ceiling(last) - first));
        const std::size_t got = co_await file->read(first, pages->span());
        _metrics.disk_read_bytes += got;
        if (got < last - first) {
            throw damaged_read(base_offset, first + got);
        }
        const range looked_at{base_offset, position, last, starts_at, ends_at};
        const window found = look_at(
            looked_at, pages->span().subspan(position - first, last - position), offset, max_bytes);
        if (!found.batches.empty()) {
            const std::size_t behind = found.batches.data() + found.batches.size() - pages->data();
            co_return disk_read{{pages, found.batches},
                                {found.next_offset, base_offset, first + behind}};
        }
        if (found.damaged || found.position + found.wanted > end) {
            // The batch that is sought may lie behind it, and be good.
            const auto behind = stepped_over ? std::nullopt
                                             : co_await find_batch(*file, start.at.position, end,
                                                                   offset, before, _options);
            if (!behind || behind->base_offset > offset) {
                throw damaged_read(base_offset, found.position);
            }
            stepped_over = true;
            position = behind->position;
            starts_at = behind->base_offset;
            ends_at = -1;
            continue;
        }
        if (found.position > position) {
            starts_at = found.next_offset;
            ends_at = -1;
        }
        position = found.position;
        if (found.first_bytes > max_bytes && found.first_bytes > first_max) {
            co_return disk_read{.batches = {}, .next = {}, .first_bytes = found.first_bytes};
        }
        wanted = std::max(found.wanted, max_bytes);
    }
}

/// Finds the batches to hand out in the bytes of a range that starts with a batch.
/// At damage it ends; what is good before is handed out.
log::window log::look_at(const range& of, std::span<const std::byte> bytes, std::int64_t offset,
                         std::size_t max_bytes) {
    protocol::batch_walk walk(bytes);
    window found{.next_offset = of.starts_at};
    std::int64_t ends_at = of.ends_at;
    while (const auto batch = walk.next()) {
        const auto batch_bytes = batch->bytes();
        const bool first = found.batches.empty();
        const bool wanted = !first || batch->last_offset() >= offset;
        if (!first && found.batches.size() + batch_bytes.size() > max_bytes) {
            return found;
        }
        const bool joins = (found.next_offset < 0 || batch->base_offset() == found.next_offset) &&
                           (ends_at < 0 || batch->last_offset() == ends_at);
        const bool in_place = !first || !wanted || batch->base_offset() <= offset;
        if (!joins || !in_place || batch->last_offset_delta() < 0 ||
            (wanted && _options.verify_reads && !batch->crc_matches())) {
            found.position = of.position + (batch_bytes.data() - bytes.data());
            found.damaged = true;
            return found;
        }
        found.next_offset = batch->next_offset();
        ends_at = -1;
        if (wanted) {
            found.batches = {first ? batch_bytes.data() : found.batches.data(),
                             found.batches.size() + batch_bytes.size()};
        }
    }
    found.position = of.end - walk.rest().size();
    if (walk.stopped() == protocol::batch_walk::stop::invalid) {
        found.damaged = true;
        return found;
    }
    found.wanted = walk.wanted();
    if (found.batches.empty() && walk.rest().size() >= protocol::batch_view::header_size) {
        const protocol::batch_view header(walk.rest().first(protocol::batch_view::header_size));
        found.first_bytes = header.last_offset() >= offset ? found.wanted : 0;
    }
    return found;
}

error log::damaged_read(std::int64_t base_offset, std::uint64_t position) {
    ++_metrics.damaged_reads;
    return {
        "read",
        fmt::format("{} at byte {}", segment_path(_directory, base_offset, log_suffix), position),
        errc::corrupt};
}

future<std::optional<timestamp_position>> log::find_timestamp(std::int64_t timestamp,
                                                              std::size_t opened_max,
                                                              semaphore* openings) {
    {
        const gate::holder inside = _readers.hold();
        for (std::size_t i = 0; i < _segments.size(); ++i) {
            if (_segments[i]->unwalked > 0) {
                co_await look_through(_segments[i]->base_offset, false);
            }
        }
    }
    const auto newest = std::find_if(_segments.begin(), _segments.end(), [&](const auto& each) {
        return each->index.max_timestamp() >= timestamp;
    });
    if (newest == _segments.end()) {
        co_return std::nullopt;
    }
    std::int64_t offset = (*newest)->index.offset_before(timestamp);
    for (;;) {
        const read_result found = co_await read(offset, look_bytes);
        if (found.chunks.empty()) {
            co_return std::nullopt;
        }
        for (const chunk& part : found.chunks) {
            protocol::batch_walk walk(part.bytes);
            while (const auto batch = walk.next()) {
                offset = batch->next_offset();
                if (batch->max_timestamp() < timestamp) {
                    continue;
                }
                if (const auto at =
                        co_await find_in_batch(*batch, timestamp, opened_max, openings)) {
                    co_return at;
                }
            }
        }
        co_await maybe_yield();
    }
}

namespace {

struct time_search {
    std::optional<timestamp_position> found;
    protocol::record_scan::stop stopped;
};

time_search search(const protocol::batch_view& batch, std::int64_t timestamp,
                   protocol::scan_limits limits) {
    protocol::record_scan records(batch, limits);
    while (const auto record = records.next()) {
        if (record->timestamp >= timestamp) {
            return {
                timestamp_position{batch.base_offset() + record->offset_delta, record->timestamp},
                protocol::record_scan::stop::end};
        }
    }
    return {std::nullopt, records.stopped()};
}

}  // namespace

/// Records of a batch that can't be opened, which older versions kept, have the time of the batch.
future<std::optional<timestamp_position>> log::find_in_batch(const protocol::batch_view& batch,
                                                             std::int64_t timestamp,
                                                             std::size_t opened_max,
                                                             semaphore* openings) {
    using stop = protocol::record_scan::stop;
    time_search result{std::nullopt, stop::damaged};
    if (batch.codec()) {
        result = search(batch, timestamp, protocol::at_once);
        if (result.stopped == stop::limit) {
            const semaphore_units place =
                openings ? co_await openings->acquire() : semaphore_units();
            result = co_await off_reactor(
                [&] { return search(batch, timestamp, {opened_max, opened_max}); });
        }
    }
    if (!result.found && result.stopped != stop::end) {
        co_return timestamp_position{batch.base_offset(), batch.max_timestamp()};
    }
    co_return result.found;
}

}  // namespace weir::broker
