// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include <broker/protocol/batch.hh>
#include <broker/storage/options.hh>
#include <broker/storage/segment.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// Walks a segment file from a position on, batch by batch, through a window in memory, and takes
/// only what is good: whole, checksummed, of this log's epoch, and with the offset that follows.
/// thread   one shard
class segment_walk {
  public:
    /// file     open for reading; outlives the walk
    /// end      where the file, or the part of it that may be read, ends
    segment_walk(io::file& file, std::uint64_t position, std::uint64_t end, std::int64_t offset,
                 const log_options& options) noexcept;

    /// returns  the next good batch, valid until the next call; null at the first that is not
    future<std::optional<protocol::batch_view>> next();
    /// Steps over what is not good, to the next batch that is.
    /// before   the offset after the last that there can be
    /// returns  false if there is none: the walk is at its end then
    future<bool> skip_damage(std::int64_t before);
    /// Where the batch after the last good one starts, and the offset that it should have.
    std::uint64_t position() const noexcept { return _position; }
    std::int64_t offset() const noexcept { return _offset; }
    /// What was read from the file so far.
    std::uint64_t bytes_read() const noexcept { return _bytes_read; }

  private:
    future<std::span<const std::byte>> view(std::size_t bytes);

    io::file& _file;
    std::uint64_t _position;
    const std::uint64_t _end;
    std::int64_t _offset;
    const log_options& _options;
    io::aligned_buffer _window;
    std::uint64_t _window_position = 0;
    std::size_t _window_bytes = 0;
    std::size_t _next_window;  // doubled up to a MiB: where little is to be walked, little is read
    std::uint64_t _bytes_read = 0;
};

/// Whether a batch is where a log of these options would have written one with this offset.
bool is_in_place(const protocol::batch_view& batch, std::int64_t offset,
                 const log_options& options) noexcept;
/// Whether it is, and its bytes are what was written.
bool is_good(const protocol::batch_view& batch, std::int64_t offset,
             const log_options& options) noexcept;

/// Where a batch is, and its first offset.
struct found_batch {
    std::uint64_t position;
    std::int64_t base_offset;
};

/// Looks through bytes of which some are spoilt for the first good batch that ends behind `offset`.
/// One that the next does not join has another offset than it says. What a good batch holds is not
/// looked into.
/// before   the offset after the last that there can be
/// returns  null if none starts before `end`
/// cost     reads up to it, and as much as a largest commit
future<std::optional<found_batch>> find_batch(io::file& file, std::uint64_t from, std::uint64_t end,
                                              std::int64_t offset, std::int64_t before,
                                              const log_options& options);

/// What follows the last good batch of a file.
struct tail_findings {
    std::uint64_t first_nonzero;  ///< end of the file if all is zero
    std::uint64_t last_good_end;  ///< of a batch that would be good anywhere; `from` if none is
    std::uint64_t last_nonzero;   ///< end of the bytes that are not zero; `from` if all are
};

/// Looks at every byte from `from` to the end of the file for batches that a later append of this
/// log may have written.
/// cost     reads it all; zeros at the speed of memory
future<tail_findings> examine_tail(io::file& file, std::uint64_t from, std::uint64_t end,
                                   std::int64_t offset, const log_options& options);

}  // namespace weir::broker
