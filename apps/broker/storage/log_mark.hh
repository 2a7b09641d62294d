// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// How far a log's records have been acknowledged, and where that is.
struct marked_end {
    std::int64_t start_offset = 0;  ///< of the log: the name of its first segment
    std::int64_t next_offset = 0;   ///< after the last acknowledged record
    std::int64_t segment_base = 0;  ///< of the segment that this is in
    std::uint64_t position = 0;     ///< of the byte after it in that segment's file

    friend bool operator==(const marked_end&, const marked_end&) = default;
};

/// What a log knows, beyond its files, of what it has acknowledged: nothing below may ever be cut,
/// and a bad batch there is damage. A small file beside the segments, written through the page
/// cache before each acknowledgement: the end of the process can't lose it. sync() tells the
/// device. README.md here has its bytes.
/// thread   one shard; one store() at a time, a sync() beside it
class log_mark {
  public:
    /// returns  the newest that is whole, null if there is no file or none is
    /// fails    errc::corrupt if it is of a newer format
    static future<std::optional<marked_end>> read(std::string directory);
    /// Opens a log's mark; makes it, durably, if there is none, or none that is whole.
    /// end        what it says then
    /// data_sync  the device hears of each store()
    static future<std::unique_ptr<log_mark>> open(std::string directory, marked_end end,
                                                  bool data_sync);

    /// From then on a killed process can't lose it.
    future<> store(const marked_end& end);
    /// The device knows what was stored before the call when the future is there.
    future<> sync();
    future<> close() { return _file.close(); }

  private:
    static constexpr std::size_t record_bytes = 64;

    log_mark(io::file file, std::uint64_t sequence) noexcept
        : _file(std::move(file)), _sequence(sequence) {}

    io::file _file;
    std::uint64_t _sequence;  // of the last record
    unsigned _page = 0;       // that records go to until the next sync()
    std::array<std::byte, record_bytes> _record{};
};

}  // namespace weir::broker
