// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include <broker/protocol/batch.hh>
#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include <weir/core/assert.hh>

/// What clients do to records before they send them.
namespace weir::broker::protocol {

/// A codec as its number, and the two ways in which snappy comes.
enum class writing { plain, gzip, snappy, lz4, zstd, xerial };
inline constexpr writing every_writing[] = {writing::plain, writing::gzip, writing::snappy,
                                            writing::lz4,   writing::zstd, writing::xerial};

inline std::vector<std::byte> to_bytes(const char* data, std::size_t size) {
    const auto* first = reinterpret_cast<const std::byte*>(data);
    return {first, first + size};
}

inline std::vector<std::byte> gzip(byte_view plain) {
    z_stream state{};
    constexpr int gzip_only = 16 + MAX_WBITS;
    WEIR_ASSERT(deflateInit2(&state, 6, Z_DEFLATED, gzip_only, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    std::vector<std::byte> out(deflateBound(&state, plain.size()) + 32);
    state.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(plain.data()));
    state.avail_in = static_cast<uInt>(plain.size());
    state.next_out = reinterpret_cast<Bytef*>(out.data());
    state.avail_out = static_cast<uInt>(out.size());
    WEIR_ASSERT(deflate(&state, Z_FINISH) == Z_STREAM_END);
    out.resize(state.total_out);
    deflateEnd(&state);
    return out;
}

inline std::vector<std::byte> snappy_block(byte_view plain) {
    std::string out;
    snappy::Compress(reinterpret_cast<const char*>(plain.data()), plain.size(), &out);
    return to_bytes(out.data(), out.size());
}

/// snappy-java's framing, in blocks of 32 KiB.
inline std::vector<std::byte> xerial(byte_view plain) {
    std::vector<std::byte> out = to_bytes("\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
    while (!plain.empty()) {
        const byte_view part = plain.first(std::min<std::size_t>(plain.size(), 32768));
        plain = plain.subspan(part.size());
        const std::vector<std::byte> block = snappy_block(part);
        std::byte length[4];
        store_big(length, static_cast<std::int32_t>(block.size()));
        out.insert(out.end(), length, length + 4);
        out.insert(out.end(), block.begin(), block.end());
    }
    return out;
}

inline std::vector<std::byte> lz4(byte_view plain) {
    LZ4F_preferences_t how{};
    how.frameInfo.blockMode = LZ4F_blockIndependent;
    std::vector<std::byte> out(LZ4F_compressFrameBound(plain.size(), &how));
    out.resize(LZ4F_compressFrame(out.data(), out.size(), plain.data(), plain.size(), &how));
    return out;
}

inline std::vector<std::byte> zstd(byte_view plain) {
    std::vector<std::byte> out(ZSTD_compressBound(plain.size()));
    out.resize(ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), 3));
    return out;
}

inline std::vector<std::byte> compress(writing how, byte_view plain) {
    switch (how) {
        case writing::gzip:
            return gzip(plain);
        case writing::snappy:
            return snappy_block(plain);
        case writing::xerial:
            return xerial(plain);
        case writing::lz4:
            return lz4(plain);
        case writing::zstd:
            return zstd(plain);
        case writing::plain:
            break;
    }
    return {plain.begin(), plain.end()};
}

inline std::int16_t codec_number(writing how) {
    return static_cast<std::int16_t>(how == writing::xerial ? writing::snappy : how);
}

/// Makes length and checksum true.
inline void repair(std::vector<std::byte>& batch) {
    store_big(batch.data() + 8,
              static_cast<std::int32_t>(batch.size() - batch_view::length_overhead));
    store_big(batch.data() + 17, crc32c(byte_view(batch).subspan(21)));
}

/// The header of an uncompressed batch before these records, marked as written in this way.
inline std::vector<std::byte> with_records(std::vector<std::byte> batch, writing how,
                                           byte_view records) {
    batch.resize(batch_view::header_size);
    batch.insert(batch.end(), records.begin(), records.end());
    store_big(batch.data() + 21, codec_number(how));
    repair(batch);
    return batch;
}

/// An uncompressed batch, compressed.
inline std::vector<std::byte> compressed(writing how, const std::vector<std::byte>& batch) {
    return with_records(batch, how, compress(how, batch_view(batch).records()));
}

}  // namespace weir::broker::protocol
