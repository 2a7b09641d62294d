// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <broker/storage/options.hh>
#include <broker/storage/segment_index.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// What a log knows of one of its files. On disk a segment is either sealed (exactly `size` bytes
/// long, with index files) or open (zeros follow its data, and there is no .index).
struct segment {
    std::int64_t base_offset = 0;
    std::int64_t next_offset = 0;  ///< of the batch that would follow
    std::uint64_t size = 0;        ///< bytes of whole, durable batches
    /// Of a sealed one without its entries, which are in its files: see log::index_of().
    segment_index index;
    /// Bytes at its start that a start left to the mark: acknowledged, and not looked at since. The
    /// index begins behind them.
    std::uint64_t unwalked = 0;
    std::int64_t unwalked_offset = 0;  ///< of the batch behind them
    /// Whether zeros are only believed to follow it: see prove_tail().
    bool tail_unseen = false;
    bool sealed = false;
    bool has_index = false;  ///< sealed, or what a failed seal or unseal left: of its index files
};

/// Kafka's files have 31 bits for an offset within a segment and for a position in it.
constexpr std::int64_t max_relative_offset = INT32_MAX;
constexpr std::uint64_t max_segment_file_bytes = INT32_MAX;
/// The largest name of a segment: the offset after its last is a number, too.
constexpr std::int64_t max_base_offset = INT64_MAX - max_relative_offset - 1;

/// Rounds to the pages that O_DIRECT needs.
constexpr std::uint64_t page_size = io::aligned_buffer::alignment;
constexpr std::uint64_t page_floor(std::uint64_t position) noexcept {
    return position / page_size * page_size;
}
constexpr std::uint64_t page_ceiling(std::uint64_t position) noexcept {
    return page_floor(position + page_size - 1);
}

/// Opens a segment's .log file as the options have it.
future<io::file> open_segment_file(const std::string& path, const log_options& options,
                                   io::op::access mode, bool data_sync = false);

/// The index of a segment that has no batches yet.
segment_index empty_index(std::int64_t base_offset, const log_options& options);

/// Reads a file of at most `limit` bytes whole, as index files are.
/// fails    errc::limit_exceeded above the limit
future<std::vector<std::byte>> read_small_file(std::string path, std::size_t limit);
/// Writes a file whole and durably under another name, then renames it. The directory is left to
/// the caller to sync.
future<> replace_file(std::string path, std::vector<std::byte> bytes);

/// Makes an open segment a sealed one: cuts the file to its data, syncs it, then writes the index
/// files, .index last: whoever finds it knows that the file was whole.
future<> seal(std::string directory, segment& sealed, const log_options& options);
/// The second half of seal(), for a file that is known to be cut and synced.
future<> write_index_files(std::string directory, segment& sealed, const log_options& options);
/// Makes a segment that has_index an open one again, before anything is added to it: it has its
/// entries in memory and is no longer `sealed`. After a failure it may be tried again.
future<> unseal(std::string directory, segment& opened);
/// Reads the index files of a sealed segment.
/// data_bytes  of its .log file: an index that is too large for it can't be right
/// returns  null if they are missing or can't be right
future<std::optional<segment_index>> load_index(std::string directory, std::int64_t base_offset,
                                                std::uint64_t data_bytes,
                                                const log_options& options);
/// As load_index(), but only the last entries.
/// cost     a page of each file
future<std::optional<segment_index>> load_index_end(std::string directory, std::int64_t base_offset,
                                                    std::uint64_t data_bytes,
                                                    const log_options& options);

}  // namespace weir::broker
