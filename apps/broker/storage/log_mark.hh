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

/// What there is of a log's mark.
struct found_mark {
    marked_end end;        ///< of the newest record that is whole; all zeros if none is
    bool whole = true;     ///< false: there was a newer record, or all of them, and it was spoilt
    std::string why = {};  ///< then
    bool trusted = false;  ///< what it covers need not be walked before the log is served
};

/// What a log knows, beyond its files, of what it has acknowledged: nothing below may ever be cut,
/// and a bad batch there is damage. A small file beside the segments, written through the page
/// cache before each acknowledgement: the end of the process can't lose it. sync() tells the
/// device. README.md here has its bytes.
/// thread   one shard; one store() at a time, a sync() beside it
class log_mark {
  public:
    /// torn_pages  the device may have spoilt all of a sector that was being written when the power
    ///             went: such a record was not acknowledged
    /// returns  null if there is no file
    /// fails    errc::corrupt if it is of a newer format
    static future<std::optional<found_mark>> read(std::string directory, bool torn_pages = false);
    /// Opens a log's mark; makes it, durably and in one step, if there is none, or none that is
    /// whole: call that only when all that is above what it says was judged.
    /// end        what it says then
    /// data_sync  the device hears of each store(), and one that it spoils is not missed
    static future<std::unique_ptr<log_mark>> open(std::string directory, marked_end end,
                                                  bool data_sync);

    /// From then on a killed process can't lose it.
    future<> store(const marked_end& end);
    /// The device knows what was stored before the call when the future is there.
    future<> sync();
    future<> close() { return _file.close(); }

    /// Of a record in the file.
    static constexpr std::size_t record_bytes = 64;

  private:
    log_mark(io::file file, std::uint64_t sequence, unsigned page, bool alternate) noexcept
        : _file(std::move(file)), _sequence(sequence), _page(page), _alternate(alternate) {}

    io::file _file;
    std::uint64_t _sequence;  // of the last record
    unsigned _page;           // that records go to until the next sync()
    const bool _alternate;    // with each record instead
    std::array<std::byte, record_bytes> _record{};
};

}  // namespace weir::broker
