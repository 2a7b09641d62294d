// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/tail_copy.hh>

#include <cstring>
#include <utility>

#include <broker/protocol/batch.hh>
#include <broker/protocol/wire.hh>
#include <broker/storage/names.hh>
#include <broker/storage/segment.hh>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::load_big;
using protocol::store_big;

constexpr std::uint64_t magic = 0x7765'6972'7461'696c;  // "weirtail"
constexpr std::size_t base_offset_at = 8;
constexpr std::size_t position_at = 16;
constexpr std::size_t length_at = 24;
constexpr std::size_t checksum_at = 32;

/// Of a record whose checksum field is zero.
std::uint32_t checksum_of(io::aligned_buffer& record, std::uint64_t length) {
    store_big(record.data() + checksum_at, std::uint32_t{0});
    return protocol::crc32c(record.span().first(page_size + length));
}

}  // namespace

future<std::unique_ptr<tail_copy>> tail_copy::open(std::string directory, std::int64_t base_offset,
                                                   const log_options& options) {
    io::file file = co_await io::file::open(segment_path(directory, base_offset, tail_copy_suffix),
                                            {.mode = io::op::access::read_write,
                                             .create = true,
                                             .direct = options.direct,
                                             .data_sync = true});
    co_return std::unique_ptr<tail_copy>(new tail_copy(std::move(file), base_offset));
}

future<> tail_copy::write(std::uint64_t position, std::span<const std::byte> bytes) {
    WEIR_ASSERT(position % page_size == 0 && !bytes.empty());
    if (_record.size() != page_size + page_ceiling(bytes.size())) {
        _record = io::aligned_buffer(page_size + bytes.size());
    }
    std::byte* const to = _record.data();
    std::memcpy(to + page_size, bytes.data(), bytes.size());
    std::memset(to + page_size + bytes.size(), 0, _record.size() - page_size - bytes.size());
    store_big(to, magic);
    store_big(to + base_offset_at, _base_offset);
    store_big(to + position_at, position);
    store_big(to + length_at, std::uint64_t{bytes.size()});
    store_big(to + checksum_at, checksum_of(_record, bytes.size()));
    return _file.write(0, _record.span());
}

future<std::optional<copied_tail>> tail_copy::read(std::string directory, std::int64_t base_offset,
                                                   const log_options& options) {
    io::file file = co_await open_segment_file(
        segment_path(directory, base_offset, tail_copy_suffix), options, io::op::access::read);
    const std::uint64_t size = co_await file.size();
    const std::uint64_t largest = 2 * page_size + page_ceiling(options.max_commit_bytes);
    io::aligned_buffer record(std::min(page_ceiling(size), largest));
    const std::size_t got = co_await file.read(0, record.span());
    co_await file.close();
    if (got < 2 * page_size || load_big<std::uint64_t>(record.data()) != magic) {
        co_return std::nullopt;
    }
    copied_tail found{.position = load_big<std::uint64_t>(record.data() + position_at),
                      .length = load_big<std::uint64_t>(record.data() + length_at)};
    const auto checksum = load_big<std::uint32_t>(record.data() + checksum_at);
    if (load_big<std::int64_t>(record.data() + base_offset_at) != base_offset ||
        found.position % page_size != 0 || found.position > max_segment_file_bytes ||
        found.length == 0 || found.length > got - page_size ||
        checksum != checksum_of(record, found.length)) {
        co_return std::nullopt;
    }
    found.pages = io::aligned_buffer(found.length);
    std::memcpy(found.pages.data(), record.data() + page_size, found.length);
    co_return std::move(found);
}

future<> tail_copy::remove(std::string directory, std::int64_t base_offset) {
    const std::string path = segment_path(directory, base_offset, tail_copy_suffix);
    if (co_await io::exists(path)) {
        co_await io::unlink(path);
        co_await io::sync_directory(directory);
    }
}

}  // namespace weir::broker
