// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/compression.hh>

#include <array>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

namespace weir::broker::protocol {

namespace {

/// What every codec that gives pieces keeps: the bytes to open, and room for a piece.
class piecewise : public opened_bytes {
  protected:
    explicit piecewise(byte_view records)
        : _rest(records), _room(std::make_unique_for_overwrite<std::byte[]>(piece_bytes)) {}

    byte_view _rest;
    std::unique_ptr<std::byte[]> _room;
};

class plain_bytes final : public opened_bytes {
  public:
    explicit plain_bytes(byte_view records) : _rest(records) {}
    std::optional<byte_view> next() override { return std::exchange(_rest, byte_view{}); }

  private:
    byte_view _rest;
};

class gzip_bytes final : public piecewise {
  public:
    explicit gzip_bytes(byte_view records) : piecewise(records) {
        constexpr int gzip_only = 16 + MAX_WBITS;
        if (inflateInit2(&_state, gzip_only) != Z_OK) {
            throw std::bad_alloc();
        }
        _state.next_in =
            reinterpret_cast<Bytef*>(const_cast<std::byte*>(records.data()));  // zlib only reads
        _state.avail_in = static_cast<uInt>(records.size());
    }
    ~gzip_bytes() override { inflateEnd(&_state); }

    std::optional<byte_view> next() override {
        _state.next_out = reinterpret_cast<Bytef*>(_room.get());
        _state.avail_out = piece_bytes;
        while (_state.avail_out == piece_bytes) {
            if (_member_ended && _state.avail_in == 0) {
                return byte_view{};
            }
            if (_member_ended && inflateReset(&_state) != Z_OK) {
                return std::nullopt;
            }
            const int how = inflate(&_state, Z_NO_FLUSH);
            if (how == Z_MEM_ERROR) {
                throw std::bad_alloc();
            }
            _member_ended = how == Z_STREAM_END;
            if (how != Z_OK && how != Z_STREAM_END) {
                return std::nullopt;
            }
        }
        return byte_view(_room.get(), piece_bytes - _state.avail_out);
    }

  private:
    z_stream _state{};
    bool _member_ended = false;
};

class snappy_bytes final : public opened_bytes {
  public:
    snappy_bytes(byte_view records, std::size_t limit) : _rest(records), _limit(limit) {
        _in_blocks = skip_head();
    }

    std::optional<byte_view> next() override {
        std::optional<byte_view> opened = byte_view{};
        while (opened && opened->empty() && !_rest.empty()) {  // an empty piece would be the end
            const auto block = _in_blocks ? take_block() : std::exchange(_rest, byte_view{});
            opened = block ? open(*block) : std::nullopt;
        }
        return opened;
    }

  private:
    /// Of what snappy-java writes before its blocks: the magic, and two versions.
    static constexpr std::array<unsigned char, 8> magic = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0};
    static constexpr std::size_t head_size = 16;
    /// No element of the format gives more bytes for each of its own.
    static constexpr std::size_t ratio_max = 22;

    bool skip_head() {
        if (_rest.size() < head_size ||
            std::memcmp(_rest.data(), magic.data(), magic.size()) != 0) {
            return false;
        }
        _rest = _rest.subspan(head_size);
        return true;
    }

    std::optional<byte_view> take_block() {
        skip_head();  // streams may follow one another
        if (_rest.size() < sizeof(std::int32_t)) {
            return std::nullopt;
        }
        const auto size = load_big<std::int32_t>(_rest.data());
        _rest = _rest.subspan(sizeof(size));
        if (size < 0 || static_cast<std::size_t>(size) > _rest.size()) {
            return std::nullopt;
        }
        const byte_view block = _rest.first(static_cast<std::size_t>(size));
        _rest = _rest.subspan(block.size());
        return block;
    }

    std::optional<byte_view> open(byte_view block) {
        const char* const from = reinterpret_cast<const char*>(block.data());
        std::size_t size = 0;
        if (!snappy::GetUncompressedLength(from, block.size(), &size) ||
            size > block.size() * ratio_max) {
            return std::nullopt;
        }
        if (size > _limit) {
            _exceeded = true;
            return std::nullopt;
        }
        if (size > _room_size) {
            _room = std::make_unique_for_overwrite<std::byte[]>(size);
            _room_size = size;
        }
        if (!snappy::RawUncompress(from, block.size(), reinterpret_cast<char*>(_room.get()))) {
            return std::nullopt;
        }
        return byte_view(_room.get(), size);
    }

    byte_view _rest;
    const std::size_t _limit;
    bool _in_blocks;
    std::unique_ptr<std::byte[]> _room;
    std::size_t _room_size = 0;
};

class lz4_bytes final : public piecewise {
  public:
    explicit lz4_bytes(byte_view records) : piecewise(records) {
        if (LZ4F_isError(LZ4F_createDecompressionContext(&_state, LZ4F_VERSION)) != 0) {
            throw std::bad_alloc();
        }
    }
    ~lz4_bytes() override { LZ4F_freeDecompressionContext(_state); }

    std::optional<byte_view> next() override {
        if (_ended) {
            return _rest.empty() ? std::optional(byte_view{}) : std::nullopt;
        }
        for (;;) {
            std::size_t given = piece_bytes;
            std::size_t taken = _rest.size();
            const std::size_t wanted =
                LZ4F_decompress(_state, _room.get(), &given, _rest.data(), &taken, nullptr);
            if (LZ4F_isError(wanted) != 0) {
                // Its numbers are no part of its interface; its names are.
                if (std::string_view(LZ4F_getErrorName(wanted)) == "ERROR_allocation_failed") {
                    throw std::bad_alloc();
                }
                return std::nullopt;
            }
            if (given == 0 && taken == 0) {
                return std::nullopt;
            }
            _rest = _rest.subspan(taken);
            _ended = wanted == 0;
            if (given > 0) {
                return byte_view(_room.get(), given);
            }
            if (_ended) {
                return next();
            }
        }
    }

  private:
    LZ4F_dctx* _state = nullptr;
    bool _ended = false;
};

class zstd_bytes final : public piecewise {
  public:
    explicit zstd_bytes(byte_view records) : piecewise(records), _state(ZSTD_createDCtx()) {
        if (_state == nullptr) {
            throw std::bad_alloc();
        }
        ZSTD_DCtx_setParameter(_state, ZSTD_d_windowLogMax, window_log_max);
    }
    ~zstd_bytes() override { ZSTD_freeDCtx(_state); }

    std::optional<byte_view> next() override {
        for (;;) {
            if (_frame_ended && _rest.empty()) {
                return byte_view{};
            }
            ZSTD_inBuffer in{_rest.data(), _rest.size(), 0};
            ZSTD_outBuffer out{_room.get(), piece_bytes, 0};
            const std::size_t wanted = ZSTD_decompressStream(_state, &out, &in);
            if (ZSTD_getErrorCode(wanted) == ZSTD_error_memory_allocation) {
                throw std::bad_alloc();
            }
            if (ZSTD_isError(wanted) != 0 || (in.pos == 0 && out.pos == 0)) {
                return std::nullopt;
            }
            _rest = _rest.subspan(in.pos);
            _frame_ended = wanted == 0;
            if (out.pos > 0) {
                return byte_view(_room.get(), out.pos);
            }
        }
    }

  private:
    /// What consumers open: zstd's own default. A window is address space; memory is taken of it
    /// as far as the batch opens, which is limited.
    static constexpr int window_log_max = 27;

    ZSTD_DCtx* _state;
    bool _frame_ended = false;
};

}  // namespace

std::unique_ptr<opened_bytes> open_bytes(codec how, byte_view records, std::size_t limit) {
    switch (how) {
        case codec::none:
            break;
        case codec::gzip:
            return std::make_unique<gzip_bytes>(records);
        case codec::snappy:
            return std::make_unique<snappy_bytes>(records, limit);
        case codec::lz4:
            return std::make_unique<lz4_bytes>(records);
        case codec::zstd:
            return std::make_unique<zstd_bytes>(records);
    }
    return std::make_unique<plain_bytes>(records);
}

}  // namespace weir::broker::protocol
