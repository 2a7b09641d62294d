// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include <broker/storage/options.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// Acknowledged bytes of a segment, as its side file keeps them.
struct copied_tail {
    std::uint64_t position;  ///< in the segment's file: a page's start
    std::uint64_t length;
    io::aligned_buffer pages;  ///< the bytes, then zeros to the end of the page

    std::uint64_t end() const noexcept { return position + length; }
};

/// A side file of an open segment, for devices that may spoil all of a page that is being written
/// when the power goes. Before acknowledged bytes are overwritten in place (the tail page, as it
/// fills) a checksummed copy of them is here, durably. The copy is never written while the bytes
/// themselves are: whenever the power goes, one of the two is whole. It holds nothing that may ever
/// change again. Where there is one, nothing was acknowledged above the mark: so it must go before
/// anything is appended without the option.
///     page 0    magic, the segment's base offset, position, length, CRC-32C of these and the bytes
///     page 1..  the bytes
/// thread   one shard; one write() at a time
class tail_copy {
  public:
    /// Opens it, or makes it; what it holds stays until the first write. Its name is left to the
    /// caller to sync.
    static future<std::unique_ptr<tail_copy>> open(std::string directory, std::int64_t base_offset,
                                                   const log_options& options);
    /// Durable when the future is there. The bytes are copied before it returns.
    /// position  a page's start
    future<> write(std::uint64_t position, std::span<const std::byte> bytes);
    future<> close() { return _file.close(); }

    /// returns  null if there is none that is whole
    static future<std::optional<copied_tail>> read(std::string directory, std::int64_t base_offset,
                                                   const log_options& options);
    /// Removes that of a segment, if there is one, durably.
    static future<> remove(std::string directory, std::int64_t base_offset);

  private:
    tail_copy(io::file file, std::int64_t base_offset) noexcept
        : _file(std::move(file)), _base_offset(base_offset) {}

    io::file _file;  // O_DIRECT | O_DSYNC
    const std::int64_t _base_offset;
    io::aligned_buffer _record;
};

}  // namespace weir::broker
