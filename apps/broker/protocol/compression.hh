// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <broker/protocol/batch.hh>

namespace weir::broker::protocol {

/// The bytes of a batch's records, opened piece by piece, so that memory is bounded by a piece and
/// the codec's window, whatever the batch opens to.
/// thread   any, one at a time
class opened_bytes {
  public:
    /// A codec gives pieces of at most so many bytes, but for blocks that come whole: snappy's, and
    /// records that need no opening.
    static constexpr std::size_t piece_bytes = std::size_t{32} << 10;

    opened_bytes() = default;
    opened_bytes(const opened_bytes&) = delete;
    opened_bytes& operator=(const opened_bytes&) = delete;
    virtual ~opened_bytes() = default;

    /// returns  the next piece, which is valid until the next call; empty at the end; null where
    ///          the bytes are not what the codec writes
    /// fails    throws std::bad_alloc
    virtual std::optional<byte_view> next() = 0;
    /// Whether next() returned null because of a block above the limit.
    bool exceeded() const noexcept { return _exceeded; }

  protected:
    bool _exceeded = false;
};

/// Opens records that were written with this codec: gzip members, snappy as one raw block or in
/// xerial's blocks, one lz4 frame, zstd frames.
/// limit    of one block that comes whole: see exceeded()
/// fails    throws std::bad_alloc
std::unique_ptr<opened_bytes> open_bytes(codec how, byte_view records, std::size_t limit);

}  // namespace weir::broker::protocol
