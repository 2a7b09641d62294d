// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <broker/protocol/record_scan.hh>
#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <broker/storage/off_reactor.hh>
#include <broker/storage/segment_walk.hh>
#include <fmt/format.h>

#include <weir/core/assert.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>

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
    if (!is_the_last(from) || !from.index.covers(offset)) {
        return {enough};  // a whole file behind: as Kafka, that is never too little
    }
    const auto loaded = from.sealed ? _indexes.find(this, from.base_offset) : nullptr;
    const segment_index& index = loaded ? *loaded : from.index;
    return {std::min<std::size_t>(enough, from.size - index.place_before(offset).position)};
}

future<> log::prepare_outlook(std::int64_t offset) {
    if (offset < start_offset() || offset >= _end_offset || _recent.holds(offset)) {
        return make_ready_future();
    }
    const segment& from = *segment_of(offset);
    if (!is_the_last(from) || !from.sealed || _indexes.find(this, from.base_offset)) {
        return make_ready_future();
    }
    return futurize([&] { return index_of(from.base_offset, _readers.hold()); })
        .then_wrapped([](future<std::shared_ptr<const segment_index>> loaded) {
            std::move(loaded).ignore();  // who reads hears of it
        });
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
    const bool was_read = earlier && earlier->coming.valid();
    if (was_read) {
        co_await settled(earlier->coming);
    }
    if (was_read && !earlier->coming.failed()) {
        got = earlier->coming.take();
        got.shorten(max_bytes);
        if (got.batches.bytes.size() > max_bytes && got.batches.bytes.size() > first_max) {
            got = {.batches = {}, .next = {}, .first_bytes = got.batches.bytes.size()};
        }
    } else if (earlier) {
        // Nobody read ahead, or something was short then that may be there now.
        if (was_read) {
            std::move(earlier->coming).ignore();
        }
        got = co_await read_from_disk({earlier->at, -1}, offset, max_bytes, first_max);
    } else {
        if (!segment_of(offset)->index.covers(offset)) {
            co_await look_through(segment_of(offset)->base_offset, false);
        }
        const segment& from = *segment_of(offset);
        const std::int64_t base_offset = from.base_offset;
        const segment_index::place start =
            from.sealed ? (co_await index_of(base_offset, _readers.hold()))->place_before(offset)
                        : from.index.place_before(offset);
        got = co_await read_from_disk(
            {{start.first_offset, base_offset, start.position}, start.last_offset}, offset,
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

/// Of a sealed segment: from memory, or from its files.
future<std::shared_ptr<const segment_index>> log::index_of(std::int64_t base_offset, gate::holder) {
    if (auto kept = _indexes.find(this, base_offset)) {
        co_return kept;
    }
    const std::shared_ptr<abort_source> give_up = _end_of_walks;
    const semaphore_units turn = co_await _indexes.loads.acquire(1, *give_up);
    if (auto kept = _indexes.find(this, base_offset)) {
        co_return kept;
    }
    const std::uint64_t size = segment_of(base_offset)->size;
    segment_index made = co_await make_index(base_offset);
    made.thin(_options.max_index_entries);
    ++_metrics.index_loads;
    const std::size_t cost = made.bytes();
    const auto index = std::make_shared<const segment_index>(std::move(made));
    if (const segment& of = *segment_of(base_offset);
        of.base_offset == base_offset && of.sealed && of.size == size && !_closed) {
        _indexes.keep(this, base_offset, index, cost);
    }
    co_return index;
}

/// From its files; if they are spoilt, by looking through the segment, and written again unless
/// somebody may append to it.
future<segment_index> log::make_index(std::int64_t base_offset) {
    const std::shared_ptr<abort_source> give_up = _end_of_walks;
    segment found{.base_offset = base_offset,
                  .next_offset = segment_of(base_offset)->next_offset,
                  .size = segment_of(base_offset)->size};
    if (auto loaded = co_await load_index(_directory, base_offset, found.size, _options)) {
        found.index = std::move(*loaded);
        // Positions rise: with the last one all lie within the segment.
        const auto last = found.index.last();
        if (ends_well(found) && (!last || last->position < found.size)) {
            co_return std::move(found.index);
        }
    }
    if (const segment& of = *segment_of(base_offset); !of.sealed) {
        co_return of.index;  // somebody appends to it again, and took them
    }
    ++_metrics.damaged_indexes;
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::warning, "index damaged, and made anew",
                     {{"file", segment_path(_directory, base_offset, index_suffix)}});
    found.index = co_await index_start(_directory, base_offset, found.size, found.next_offset,
                                       _options, _metrics, nullptr, *give_up);
    segment_index index = found.index;
    if (ends_well(found) && !is_the_last(*segment_of(base_offset))) {
        try {
            co_await write_index_files(_directory, found, _options);
        } catch (const error&) {  // NOLINT(bugprone-empty-catch): the next one tries again
        }
    }
    co_return index;
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
    const gate::holder inside = _readers.hold();
    for (std::size_t i = 0; i < _segments.size(); ++i) {
        if (_segments[i]->unwalked > 0) {
            co_await look_through(_segments[i]->base_offset, false);
        }
    }
    const auto newest = std::find_if(_segments.begin(), _segments.end(), [&](const auto& each) {
        return each->index.max_timestamp() >= timestamp;
    });
    if (newest == _segments.end()) {
        co_return std::nullopt;
    }
    const std::int64_t base_offset = (*newest)->base_offset;
    std::int64_t offset =
        (*newest)->sealed
            ? (co_await index_of(base_offset, _readers.hold()))->offset_before(timestamp)
            : (*newest)->index.offset_before(timestamp);
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
