// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/segment_walk.hh>

#include <algorithm>
#include <cstring>

#include <weir/core/coroutine.hh>

namespace weir::broker {

using protocol::batch_view;
using protocol::batch_walk;

namespace {

constexpr std::size_t first_window_bytes = std::size_t{32} << 10;
constexpr std::size_t window_bytes = std::size_t{1} << 20;

/// Reads what O_DIRECT lets it: from a page's start, whole pages.
future<std::size_t> read_pages(io::file& file, std::uint64_t position, io::aligned_buffer& into) {
    return file.read(position, into.span());
}

/// The first place from `from` on, below `limit`, where there may be a batch; else at least
/// `limit`.
std::size_t next_magic(std::span<const std::byte> bytes, std::size_t from, std::size_t limit) {
    constexpr std::size_t magic_at = 16;
    if (from >= limit || from + batch_view::header_size > bytes.size()) {
        return limit;
    }
    const void* magic = std::memchr(bytes.data() + from + magic_at, batch_view::magic,
                                    bytes.size() - from - magic_at);
    return magic == nullptr ? limit
                            : static_cast<const std::byte*>(magic) - bytes.data() - magic_at;
}

/// Whether what follows a batch goes on where that ends. No checksum covers its first offset.
bool joins(std::span<const std::byte> rest, bool to_the_end, std::int64_t offset,
           std::int64_t before) {
    if (rest.empty()) {
        return to_the_end && offset == before;
    }
    return rest.size() >= batch_view::header_size &&
           batch_view(rest.first(batch_view::header_size)).base_offset() == offset;
}

/// Whether `bytes` start with a batch that a later append of this log may have written.
std::size_t plausible_batch(std::span<const std::byte> bytes, std::int64_t offset,
                            const log_options& options) {
    batch_walk walk(bytes);
    const auto batch = walk.next();
    // No writer of this log got farther ahead: a segment holds fewer offsets.
    const bool later =
        batch && batch->base_offset() >= offset && batch->base_offset() - offset <= INT32_MAX;
    return later && is_good(*batch, batch->base_offset(), options) ? batch->bytes().size() : 0;
}

}  // namespace

bool is_in_place(const batch_view& batch, std::int64_t offset,
                 const log_options& options) noexcept {
    return batch.base_offset() == offset && batch.last_offset_delta() >= 0 &&
           batch.next_offset() > offset && batch.leader_epoch() >= 0 &&
           batch.leader_epoch() <= options.leader_epoch;
}

bool is_good(const batch_view& batch, std::int64_t offset, const log_options& options) noexcept {
    return is_in_place(batch, offset, options) && batch.crc_matches();
}

segment_walk::segment_walk(io::file& file, std::uint64_t position, std::uint64_t end,
                           std::int64_t offset, const log_options& options) noexcept
    : _file(file),
      _position(position),
      _end(end),
      _offset(offset),
      _options(options),
      _next_window(first_window_bytes) {}

future<std::optional<batch_view>> segment_walk::next() {
    std::size_t needed = batch_view::header_size;
    // A larger batch than one commit was never written, whatever its length says.
    while (needed <= std::min<std::uint64_t>(_end - _position, _options.max_commit_bytes)) {
        const auto bytes = co_await view(needed);
        batch_walk walk(bytes);
        if (const auto batch = walk.next()) {
            if (!is_good(*batch, _offset, _options)) {
                break;
            }
            _position += batch->bytes().size();
            _offset = batch->next_offset();
            co_return batch;
        }
        if (walk.stopped() != batch_walk::stop::partial || walk.wanted() <= bytes.size()) {
            break;
        }
        needed = walk.wanted();
    }
    co_return std::nullopt;
}

future<bool> segment_walk::skip_damage(std::int64_t before) {
    const auto found = co_await find_batch(_file, _position, _end, _offset, before, _options);
    _position = found ? found->position : _end;
    _offset = found ? found->base_offset : before;
    co_return found.has_value();
}

/// The bytes from the position on: `bytes` at least, fewer where the file is shorter than told.
future<std::span<const std::byte>> segment_walk::view(std::size_t bytes) {
    const bool held =
        _position >= _window_position && _position + bytes <= _window_position + _window_bytes;
    if (!held) {
        _window_position = page_floor(_position);
        const std::uint64_t left = page_ceiling(_end) - _window_position;
        const std::uint64_t size =
            std::max<std::uint64_t>(page_ceiling(_position + bytes) - _window_position,
                                    std::min<std::uint64_t>(_next_window, left));
        _next_window = std::min(2 * _next_window, window_bytes);
        if (_window.size() != size) {
            _window = io::aligned_buffer(size);
        }
        _window_bytes = co_await read_pages(_file, _window_position, _window);
        _bytes_read += _window_bytes;
    }
    const std::uint64_t stop = std::min(_window_position + _window_bytes, _end);
    const std::uint64_t start = std::min(_position, stop);
    co_return _window.span().subspan(start - _window_position, stop - start);
}

future<std::optional<found_batch>> find_batch(io::file& file, std::uint64_t from, std::uint64_t end,
                                              std::int64_t offset, std::int64_t before,
                                              const log_options& options) {
    for (std::uint64_t at = from; at < end;) {
        const std::uint64_t first = page_floor(at);
        const std::uint64_t last =
            std::min(end, at + window_bytes + options.max_commit_bytes + batch_view::header_size);
        io::aligned_buffer window(page_ceiling(last) - first);
        const std::size_t got = co_await read_pages(file, first, window);
        const auto bytes = window.span().first(std::min<std::uint64_t>(got, last - first));
        const std::size_t limit = at - first + window_bytes;
        std::size_t i = next_magic(bytes, at - first, limit);
        while (i < limit) {
            batch_walk walk(bytes.subspan(i));
            const auto batch = walk.next();
            std::size_t step = 1;
            if (batch && batch->next_offset() <= before &&
                is_good(*batch, batch->base_offset(), options)) {
                const auto rest = bytes.subspan(i + batch->bytes().size());
                if (batch->next_offset() > offset &&
                    joins(rest, last == end, batch->next_offset(), before)) {
                    co_return found_batch{first + i, batch->base_offset()};
                }
                step = batch->bytes().size();
            }
            i = next_magic(bytes, i + step, limit);
            co_await maybe_yield();
        }
        at = first + i;
    }
    co_return std::nullopt;
}

future<tail_findings> examine_tail(io::file& file, std::uint64_t from, std::uint64_t end,
                                   std::int64_t offset, const log_options& options) {
    tail_findings found{end, from, from};
    // Windows overlap by one largest batch, so that each start is seen with its whole batch.
    io::aligned_buffer window(window_bytes + page_ceiling(options.max_batch_bytes));
    for (std::uint64_t at = page_floor(from); at < end; at += window_bytes) {
        const std::size_t got = co_await read_pages(file, at, window);
        const auto bytes = window.span().first(std::min<std::uint64_t>(got, end - at));
        for (std::size_t i = from > at ? from - at : 0; i < bytes.size(); ++i) {
            if (bytes[i] != std::byte{0}) {
                found.first_nonzero = std::min(found.first_nonzero, at + i);
                found.last_nonzero = std::max(found.last_nonzero, at + i + 1);
            }
        }
        for (std::size_t i = next_magic(bytes, from > at ? from - at : 0, window_bytes);
             i < window_bytes; i = next_magic(bytes, i + 1, window_bytes)) {
            if (const std::size_t size = plausible_batch(bytes.subspan(i), offset, options)) {
                found.last_good_end = std::max(found.last_good_end, at + i + size);
            }
            co_await maybe_yield();
        }
    }
    co_return found;
}

}  // namespace weir::broker
