// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/torn_batch.hh>

#include <algorithm>
#include <array>
#include <vector>

#include <broker/protocol/batch.hh>
#include <broker/protocol/wire.hh>
#include <broker/storage/segment.hh>

namespace weir::broker {

namespace {

constexpr std::size_t sector = 512;  // or a multiple of it: that makes no difference
constexpr std::size_t length_at = 8;
constexpr std::size_t magic_at = 16;

bool all_zero(std::span<const std::byte> bytes) noexcept {
    return std::all_of(bytes.begin(), bytes.end(),
                       [](std::byte each) { return each == std::byte{0}; });
}

/// The part of [from, end) that lies in the sector of `from`; both count from `position`.
std::size_t piece_end(std::uint64_t position, std::size_t from, std::size_t end) noexcept {
    const std::uint64_t next_sector = (position + from) / sector * sector + sector;
    return static_cast<std::size_t>(std::min<std::uint64_t>(next_sector - position, end));
}

enum class piece { old, as_it_was_to_be, spoilt };

/// Judges the bytes [from, end) of a header, which are of one sector.
piece judge(std::span<const std::byte> bytes, std::size_t from, std::size_t end,
            std::int64_t offset) noexcept {
    std::array<std::byte, magic_at + 1> known{};
    protocol::store_big(known.data(), offset);
    known[magic_at] = std::byte{protocol::batch_view::magic};
    const std::span<const std::byte> there = bytes.subspan(from, end - from);
    if (all_zero(there)) {
        // The first bytes of an offset are zeros anyway.
        const std::size_t offset_end = std::min(end, length_at);
        const bool was_zero = end <= length_at && from <= offset_end &&
                              all_zero(std::span(known).subspan(from, offset_end - from));
        return was_zero ? piece::as_it_was_to_be : piece::old;
    }
    for (std::size_t i = from; i < end && i <= magic_at; ++i) {
        if ((i < length_at || i == magic_at) && bytes[i] != known[i]) {
            return piece::spoilt;
        }
    }
    return piece::as_it_was_to_be;
}

/// Whether the last byte, which is zero, is all that a whole batch lacks. Records end with a zero
/// unless they have headers or are compressed: a batch of which one byte reaches into a sector
/// would else always pass for torn.
bool lacks_last_byte(std::span<const std::byte> bytes) {
    std::vector<std::byte> batch(bytes.begin(), bytes.end());
    for (unsigned last = 1; last < 256; ++last) {
        batch.back() = std::byte{static_cast<unsigned char>(last)};
        const auto whole = protocol::batch_walk(batch).next();
        if (whole && whole->crc_matches()) {
            return true;
        }
    }
    return false;
}

}  // namespace

bool may_be_torn(std::span<const std::byte> bytes, std::uint64_t position, std::int64_t offset,
                 std::uint64_t reach, const log_options& options) {
    constexpr std::size_t header = protocol::batch_view::header_size;
    // From here on `bytes` lie in pages that may have held nothing durable before.
    const std::uint64_t reserved =
        reach >= options.unzeroed_commit_bytes ? page_ceiling(position) - position : bytes.size();
    bool some_old = false;
    const std::size_t header_end = std::min(header, bytes.size());
    for (std::size_t from = 0; from < header_end;) {
        const std::size_t end = piece_end(position, from, header_end);
        const piece found = judge(bytes, from, end, offset);
        if (found == piece::spoilt) {
            return from >= reserved;
        }
        some_old = some_old || found == piece::old;
        from = end;
    }
    // Where the file ends there was nothing acknowledged: it grows before, or with, what is.
    if (some_old || bytes.size() < header) {
        return true;
    }
    const auto length = protocol::load_big<std::int32_t>(bytes.data() + length_at);
    const std::size_t size = length_at + 4 + static_cast<std::size_t>(std::max(length, 0));
    if (size < header || size > options.max_commit_bytes) {
        return false;
    }
    if (size > bytes.size()) {
        return true;
    }
    // The sectors behind those of the header.
    for (std::size_t from = piece_end(position, header - 1, size); from < size;
         from = piece_end(position, from, size)) {
        const std::size_t end = piece_end(position, from, size);
        if (all_zero(bytes.subspan(from, end - from))) {
            return end - from > 1 || lacks_last_byte(bytes.first(size));
        }
    }
    return size > reserved;
}

}  // namespace weir::broker
