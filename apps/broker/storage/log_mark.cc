// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log_mark.hh>

#include <span>
#include <utility>
#include <vector>

#include <broker/protocol/batch.hh>
#include <broker/protocol/wire.hh>
#include <broker/storage/names.hh>
#include <broker/storage/segment.hh>
#include <fmt/format.h>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::load_big;
using protocol::store_big;

constexpr std::uint64_t magic = 0x7765'6972'6d61'726b;  // "weirmark"
constexpr std::uint32_t our_version = 1;
constexpr std::size_t version_at = 8;
constexpr std::size_t checksum_at = 12;
constexpr std::size_t sequence_at = 16;
constexpr std::size_t start_offset_at = 24;
constexpr std::size_t next_offset_at = 32;
constexpr std::size_t segment_base_at = 40;
constexpr std::size_t position_at = 48;
constexpr std::size_t checksummed_from = sequence_at;

constexpr std::uint64_t records_a_page = page_size / 64;
constexpr std::size_t file_bytes = 2 * page_size;

std::string path_in(std::string_view directory) {
    return fmt::format("{}/{}", directory, mark_name);
}

struct found_record {
    std::uint64_t sequence = 0;
    std::uint64_t page = 0;
    marked_end end;
};

/// returns  null for what was never a whole record
std::optional<found_record> decode(std::span<const std::byte> record, const std::string& path) {
    const std::byte* const from = record.data();
    if (load_big<std::uint64_t>(from) != magic) {
        return std::nullopt;
    }
    if (load_big<std::uint32_t>(from + checksum_at) !=
        protocol::crc32c(record.subspan(checksummed_from))) {
        return std::nullopt;
    }
    if (load_big<std::uint32_t>(from + version_at) != our_version) {
        throw error("read", path + " (of a version that this program does not know)",
                    errc::corrupt);
    }
    const found_record found{.sequence = load_big<std::uint64_t>(from + sequence_at),
                             .end = {load_big<std::int64_t>(from + start_offset_at),
                                     load_big<std::int64_t>(from + next_offset_at),
                                     load_big<std::int64_t>(from + segment_base_at),
                                     load_big<std::uint64_t>(from + position_at)}};
    const marked_end& end = found.end;
    const bool in_order = end.start_offset >= 0 && end.segment_base >= end.start_offset &&
                          end.next_offset >= end.segment_base &&
                          end.position <= max_segment_file_bytes;
    return in_order ? std::optional(found) : std::nullopt;
}

future<std::optional<found_record>> find_newest(std::string path) {
    if (!co_await io::exists(path)) {
        co_return std::nullopt;
    }
    io::file from = co_await io::file::open(path, {});
    std::vector<std::byte> bytes(file_bytes);
    bytes.resize(co_await from.read(0, bytes));
    co_await from.close();
    std::optional<found_record> newest;
    constexpr std::size_t record_bytes = page_size / records_a_page;
    for (std::size_t at = 0; at + record_bytes <= bytes.size(); at += record_bytes) {
        auto each = decode(std::span(bytes).subspan(at, record_bytes), path);
        if (each && (!newest || each->sequence > newest->sequence)) {
            each->page = at / page_size;
            newest = each;
        }
    }
    co_return newest;
}

}  // namespace

future<std::optional<marked_end>> log_mark::read(std::string directory) {
    const auto newest = co_await find_newest(path_in(directory));
    co_return newest ? std::optional(newest->end) : std::nullopt;
}

future<std::unique_ptr<log_mark>> log_mark::open(std::string directory, marked_end end,
                                                 bool data_sync) {
    const std::string path = path_in(directory);
    const auto newest = co_await find_newest(path);
    io::file file = co_await io::file::open(
        path, {.mode = io::op::access::read_write, .create = true, .data_sync = data_sync});
    std::unique_ptr<log_mark> opened(new log_mark(std::move(file), newest ? newest->sequence : 0));
    if (newest) {
        opened->_page = newest->page == 0 ? 1 : 0;
        if (newest->end != end) {
            co_await opened->store(end);
        }
        co_return opened;
    }
    // All of the file has its space from now on: a full disk can't keep a record from its place.
    co_await opened->_file.write(0, std::vector<std::byte>(file_bytes));
    co_await opened->store(end);
    co_await opened->_file.sync(true);
    co_await io::sync_directory(directory);
    opened->_page = 1;
    co_return opened;
}

future<> log_mark::store(const marked_end& end) {
    ++_sequence;
    std::byte* const to = _record.data();
    store_big(to, magic);
    store_big(to + version_at, our_version);
    store_big(to + sequence_at, _sequence);
    store_big(to + start_offset_at, end.start_offset);
    store_big(to + next_offset_at, end.next_offset);
    store_big(to + segment_base_at, end.segment_base);
    store_big(to + position_at, end.position);
    store_big(to + checksum_at,
              protocol::crc32c(std::span<const std::byte>(_record).subspan(checksummed_from)));
    const std::uint64_t slot = _sequence % records_a_page;
    return _file.write(_page * page_size + slot * record_bytes, _record);
}

// What is stored from now on goes to the other page: this one is on its way to the device.
future<> log_mark::sync() {
    _page = 1 - _page;
    return _file.sync();
}

}  // namespace weir::broker
