// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/active_segment.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <broker/storage/names.hh>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::broker {

namespace {

constexpr std::size_t zero_block = 64 << 10;
constexpr unsigned zero_blocks_per_write = 4;  // a commit waits behind one of these at most
alignas(page_size) constinit const std::byte zeros[zero_block]{};

}  // namespace

active_segment::active_segment(io::file file, std::uint64_t end, std::uint64_t zeroed,
                               const log_options& options, log_metrics& metrics)
    : _file(std::move(file)),
      _end(end),
      _zeroed(zeroed),
      _step(options.zero_ahead_min_bytes),
      _tail_page(page_size),
      _options(options),
      _metrics(metrics) {}

future<std::unique_ptr<active_segment>> active_segment::create(std::string directory,
                                                               std::int64_t base_offset,
                                                               const log_options& options,
                                                               log_metrics& metrics) {
    const std::string path = segment_path(directory, base_offset, log_suffix);
    const std::string unfinished = path + std::string(unfinished_suffix);
    io::file file = co_await io::file::open(unfinished, {.mode = io::op::access::read_write,
                                                         .create = true,
                                                         .truncate = true,
                                                         .direct = options.direct,
                                                         .data_sync = true});
    std::unique_ptr<active_segment> created(
        new active_segment(std::move(file), 0, 0, options, metrics));
    co_await created->make_room(1);
    co_await created->_file.close();
    co_await io::rename(unfinished, path);
    created->_file = co_await open_segment_file(path, options, io::op::access::read_write, true);
    if (options.tail_copy) {
        created->_copy = co_await tail_copy::open(directory, base_offset, options);
    }
    if (!this_host().canary("missing-directory-sync")) {
        co_await io::sync_directory(directory);
    }
    co_return created;
}

future<std::unique_ptr<active_segment>> active_segment::resume(std::string directory,
                                                               const segment& of,
                                                               const log_options& options,
                                                               log_metrics& metrics) {
    const std::string path = segment_path(directory, of.base_offset, log_suffix);
    io::file file = co_await open_segment_file(path, options, io::op::access::read_write, true);
    const std::uint64_t tail = page_floor(of.size);
    std::uint64_t zeroed = tail;
    const bool stale = this_host().canary("stale-batch");
    if (stale) {
        zeroed = std::max(tail, page_floor(co_await file.size()));
    }
    std::unique_ptr<active_segment> resumed(
        new active_segment(std::move(file), of.size, zeroed, options, metrics));
    if (of.size > tail) {
        co_await resumed->_file.read(tail, resumed->_tail_page.span());
        std::memset(resumed->_tail_page.data() + (of.size - tail), 0, page_size - (of.size - tail));
    }
    if (options.tail_copy) {
        resumed->_copy = co_await tail_copy::open(directory, of.base_offset, options);
        co_await resumed->prepare_to_seal();
        co_await io::sync_directory(directory);
    }
    if (of.size > tail && !stale) {
        // Zeros behind the end of a file that was shorter need not be on the device.
        co_await resumed->_file.write(tail, resumed->_tail_page.span());
    }
    co_await resumed->make_room(0);
    co_return resumed;
}

future<> active_segment::make_room(std::uint64_t bytes) {
    // A page more: whatever is behind the data was zeros on the device before, so that recovery can
    // tell a torn commit from a sector that the device spoilt.
    const std::uint64_t needed = page_ceiling(_end + bytes) + page_size;
    const bool unzeroed = _options.allocate && bytes >= _options.unzeroed_commit_bytes;
    _metrics.commits_delayed += _zeroed < needed && !unzeroed ? 1 : 0;
    while (_zeroed < needed) {
        if (!zeroing()) {
            if (unzeroed) {
                co_return co_await reserve(needed);
            }
            _zeroing = zero_ahead(next_zeroed_end(needed));
        }
        co_await std::exchange(_zeroing, {});
    }
}

// The kernel shows zeros where nothing was written yet, also after a power cut.
future<> active_segment::reserve(std::uint64_t needed) {
    const std::uint64_t from = std::max(_zeroed, _reserved);
    if (from < needed) {
        const std::uint64_t until = page_ceiling(std::max(
            needed, std::min(from + _options.zero_ahead_max_bytes, _options.segment_bytes)));
        co_await _file.allocate(from, until - from);
        _reserved = until;
    }
}

bool active_segment::zeroing() {
    if (_zeroing.valid() && _zeroing.available()) {
        // If it failed in the background, whoever needs the space tries again and hears of it.
        std::move(_zeroing).ignore();
        _zeroing = {};
    }
    return _zeroing.valid();
}

std::uint64_t active_segment::next_zeroed_end(std::uint64_t needed) const noexcept {
    // Not beyond where the segment will be rolled, unless one batch needs it.
    const std::uint64_t ahead = std::min(std::max(_zeroed, _end) + _step, zero_limit());
    return page_ceiling(std::max(ahead, needed));
}

std::uint64_t active_segment::zero_limit() const noexcept {
    return page_ceiling(_options.segment_bytes) + page_size;
}

// A descriptor without O_DSYNC: many writes, one sync. The space is reserved first, so that a full
// disk says so before anything else happens, and the writes then change no size.
future<> active_segment::zero_ahead(std::uint64_t until) {
    const std::uint64_t from = page_ceiling(std::max(_zeroed, _end));
    io::file file = co_await open_segment_file(_file.path(), _options, io::op::access::write);
    if (_options.allocate) {
        co_await file.allocate(_zeroed, until - _zeroed);
    }
    for (std::uint64_t at = from; at < until;) {
        std::vector<iovec> blocks;
        std::uint64_t length = 0;
        while (blocks.size() < zero_blocks_per_write && at + length < until) {
            const std::uint64_t block = std::min<std::uint64_t>(zero_block, until - at - length);
            // The kernel only reads through this pointer; iovec has no const of its own.
            blocks.push_back({const_cast<std::byte*>(zeros), block});
            length += block;
        }
        co_await file.write(at, std::move(blocks));
        at += length;
    }
    co_await file.sync(true);
    co_await file.close();
    _metrics.zeroed_bytes += until - from;
    _zeroed = until;
    _step = std::min(_step * 2, _options.zero_ahead_max_bytes);
}

frozen_commit active_segment::freeze(std::span<const std::span<const std::byte>> batches) {
    std::size_t bytes = 0;
    for (const auto each : batches) {
        bytes += each.size();
    }
    WEIR_ASSERT(_end + bytes <= std::max(_zeroed, _reserved));
    const std::uint64_t position = page_floor(_end);
    const std::size_t tail = _end - position;
    auto pages = std::make_shared<io::aligned_buffer>(io::aligned_buffer::unset(tail + bytes));
    std::memcpy(pages->data(), _tail_page.data(), tail);
    std::byte* to = pages->data() + tail;
    for (const auto each : batches) {
        std::memcpy(to, each.data(), each.size());
        to += each.size();
    }
    WEIR_ASSERT(to == pages->data() + tail + bytes);

    frozen_commit frozen{pages, position, {pages->data() + tail, bytes}, _end};
    _end += bytes;
    _zeroed = std::max(_zeroed, page_ceiling(_end));  // its last page ends with zeros
    const std::size_t new_tail = _end - page_floor(_end);
    std::memcpy(_tail_page.data(), to - new_tail, new_tail);
    return frozen;
}

future<> active_segment::write(const frozen_commit& commit) {
    ++_metrics.commits;
    _metrics.commit_bytes += commit.pages->size();
    if (commit.batches.size() < _options.unzeroed_commit_bytes && _zeroed - _end < _step / 2 &&
        !zeroing() && _zeroed < zero_limit()) {
        _zeroing = zero_ahead(next_zeroed_end(_zeroed));
    }
    if (_copy && commit.batches_position > commit.position) {
        return copy_and_write(commit);
    }
    return _file.write(commit.position, commit.pages->span());
}

// What is acknowledged in the tail page first: if the power goes, the copy is whole, or the page.
future<> active_segment::copy_and_write(const frozen_commit& commit) {
    if (!this_host().canary("missing-tail-copy")) {
        co_await copy_tail(commit.position,
                           commit.pages->span().first(commit.batches_position - commit.position));
    }
    co_await _file.write(commit.position, commit.pages->span());
}

future<> active_segment::copy_tail(std::uint64_t position, std::span<const std::byte> bytes) {
    if (_copied_end == position + bytes.size()) {
        co_return;
    }
    co_await _copy->write(position, bytes);
    _copied_end = position + bytes.size();
    ++_metrics.tail_copies;
}

future<> active_segment::prepare_to_seal() {
    const std::uint64_t tail = page_floor(_end);
    if (!_copy || tail == _end) {
        return make_ready_future();
    }
    return copy_tail(tail, _tail_page.span().first(_end - tail));
}

future<> active_segment::settle() {
    if (_zeroing.valid()) {
        // Zeros that could not be written don't matter any more.
        co_await std::exchange(_zeroing, {}).then_wrapped([](future<> ended) {
            std::move(ended).ignore();
        });
    }
}

future<> active_segment::close() {
    co_await settle();
    if (_copy) {
        co_await std::exchange(_copy, nullptr)->close();
    }
    co_await _file.close();
}

}  // namespace weir::broker
