// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log_mark.hh>

#include <algorithm>
#include <array>
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
constexpr std::uint32_t our_version = 2;
constexpr std::uint32_t unsealed_version = 1;  // its checksum leaves out what lies before it
constexpr std::size_t version_at = 8;
constexpr std::size_t checksum_at = 12;
constexpr std::size_t sequence_at = 16;
constexpr std::size_t start_offset_at = 24;
constexpr std::size_t next_offset_at = 32;
constexpr std::size_t segment_base_at = 40;
constexpr std::size_t position_at = 48;
constexpr std::size_t seal_at = 56;  // a checksum of magic and version
constexpr std::size_t checksummed_from = sequence_at;

constexpr std::size_t record_bytes = log_mark::record_bytes;
constexpr std::uint64_t records_a_page = page_size / record_bytes;
constexpr std::uint64_t pages = 2;
constexpr std::size_t file_bytes = pages * page_size;
constexpr std::size_t sector_bytes = 512;
/// No log comes so far: the number of a record has room to grow.
constexpr std::uint64_t largest_sequence = std::uint64_t{1} << 62;

using record = std::array<std::byte, record_bytes>;

std::string path_in(std::string_view directory) {
    return fmt::format("{}/{}", directory, mark_name);
}

std::uint32_t seal_of(const std::byte* from) {
    return protocol::crc32c({from, checksum_at});
}

record encode(const marked_end& end, std::uint64_t sequence) {
    record made{};
    std::byte* const to = made.data();
    store_big(to, magic);
    store_big(to + version_at, our_version);
    store_big(to + sequence_at, sequence);
    store_big(to + start_offset_at, end.start_offset);
    store_big(to + next_offset_at, end.next_offset);
    store_big(to + segment_base_at, end.segment_base);
    store_big(to + position_at, end.position);
    store_big(to + seal_at, seal_of(to));
    store_big(to + checksum_at,
              protocol::crc32c(std::span<const std::byte>(made).subspan(checksummed_from)));
    return made;
}

/// What lies in the place of a record.
enum class place : std::uint8_t { empty, whole, spoilt };

struct look {
    place what = place::spoilt;
    std::uint64_t sequence = 0;
    marked_end end;
};

/// Whether magic and version are of a record whose rest is whole.
/// fails    throws errc::corrupt for a version that this program does not know
bool has_good_head(const std::byte* from, const std::string& path) {
    const auto version = load_big<std::uint32_t>(from + version_at);
    const auto seal = load_big<std::uint32_t>(from + seal_at);
    const bool ours = load_big<std::uint64_t>(from) == magic;
    if (seal == 0 && ours && version == unsealed_version) {
        return true;
    }
    if (seal != seal_of(from) || !ours) {
        return false;
    }
    if (version != our_version) {
        throw error("read", path + " (of a version that this program does not know)",
                    errc::corrupt);
    }
    return true;
}

look decode(std::span<const std::byte> bytes, const std::string& path) {
    const std::byte* const from = bytes.data();
    if (std::ranges::all_of(bytes, [](std::byte each) { return each == std::byte{0}; })) {
        return {.what = place::empty, .end = {}};
    }
    if (bytes.size() < record_bytes ||
        load_big<std::uint32_t>(from + checksum_at) !=
            protocol::crc32c(bytes.subspan(checksummed_from)) ||
        !has_good_head(from, path)) {
        return {.end = {}};
    }
    const look found{.what = place::whole,
                     .sequence = load_big<std::uint64_t>(from + sequence_at),
                     .end = {load_big<std::int64_t>(from + start_offset_at),
                             load_big<std::int64_t>(from + next_offset_at),
                             load_big<std::int64_t>(from + segment_base_at),
                             load_big<std::uint64_t>(from + position_at)}};
    const marked_end& end = found.end;
    const bool in_order = end.start_offset >= 0 && end.segment_base >= end.start_offset &&
                          end.next_offset >= end.segment_base &&
                          end.position <= max_segment_file_bytes &&
                          found.sequence <= largest_sequence;
    return in_order ? found : look{.end = {}};
}

/// All places of the file, and the newest record in them.
struct findings {
    std::array<look, pages * records_a_page> places;
    std::optional<std::size_t> newest;

    bool spoilt_with_its_sector(std::size_t number) const noexcept;
    bool missed_one(bool torn_pages) const noexcept;
};

bool findings::spoilt_with_its_sector(std::size_t number) const noexcept {
    constexpr std::size_t records_a_sector = sector_bytes / record_bytes;
    const auto first =
        places.begin() + static_cast<std::ptrdiff_t>(number / records_a_sector * records_a_sector);
    return std::all_of(first, first + records_a_sector,
                       [](const look& each) { return each.what == place::spoilt; });
}

/// Whether a record that was newer than the newest may have been spoilt since: it lay behind it,
/// in one page or the other.
bool findings::missed_one(bool torn_pages) const noexcept {
    if (!newest) {
        return true;
    }
    const std::uint64_t next = (places[*newest].sequence + 1) % records_a_page;
    for (std::uint64_t page = 0; page < pages; ++page) {
        const std::size_t number = page * records_a_page + next;
        if (places[number].what == place::spoilt &&
            !(torn_pages && spoilt_with_its_sector(number))) {
            return true;
        }
    }
    return false;
}

future<std::optional<findings>> look_at(std::string path) {
    if (!co_await io::exists(path)) {
        co_return std::nullopt;
    }
    io::file from = co_await io::file::open(path, {});
    std::vector<std::byte> bytes(file_bytes);
    co_await from.read(0, bytes);  // what is missing counts as empty
    co_await from.close();
    std::optional<findings> found(std::in_place);
    for (std::size_t i = 0; i < found->places.size(); ++i) {
        look& each = found->places[i];
        each = decode(std::span(bytes).subspan(i * record_bytes, record_bytes), path);
        if (each.what == place::whole &&
            (!found->newest || each.sequence > found->places[*found->newest].sequence)) {
            found->newest = i;
        }
    }
    co_return found;
}

}  // namespace

future<std::optional<found_mark>> log_mark::read(std::string directory, bool torn_pages) {
    const std::string path = path_in(directory);
    const auto found = co_await look_at(path);
    if (!found) {
        co_return std::nullopt;
    }
    found_mark result;
    if (found->newest) {
        result.end = found->places[*found->newest].end;
    }
    if (found->missed_one(torn_pages)) {
        result.whole = false;
        result.why = fmt::format(
            "{} ({})", path,
            found->newest ? "its newest record is spoilt" : "it has no record that is whole");
    }
    co_return result;
}

future<std::unique_ptr<log_mark>> log_mark::open(std::string directory, marked_end end,
                                                 bool data_sync) {
    const std::string path = path_in(directory);
    const io::file::options how{.mode = io::op::access::read_write, .data_sync = data_sync};
    const auto found = co_await look_at(path);
    if (found && !found->missed_one(false)) {
        const look& newest = found->places[*found->newest];
        std::unique_ptr<log_mark> opened(
            new log_mark(co_await io::file::open(path, how), newest.sequence,
                         *found->newest < records_a_page ? 1 : 0, data_sync));
        if (newest.end != end) {
            co_await opened->store(end);
        }
        co_return opened;
    }
    // All of the file has its space from now on: a full disk can't keep a record from its place.
    std::vector<std::byte> bytes(file_bytes);
    std::ranges::copy(encode(end, 1), bytes.begin() + record_bytes);
    co_await replace_file(path, std::move(bytes));
    co_await io::sync_directory(directory);
    co_return std::unique_ptr<log_mark>(
        new log_mark(co_await io::file::open(path, how), 1, 1, data_sync));
}

future<> log_mark::store(const marked_end& end) {
    ++_sequence;
    _record = encode(end, _sequence);
    const std::uint64_t position = _page * page_size + _sequence % records_a_page * record_bytes;
    if (_alternate) {
        _page = 1 - _page;  // whatever becomes of one page, the other has the record before
    }
    return _file.write(position, _record);
}

// What is stored from now on goes to the other page: this one is on its way to the device.
future<> log_mark::sync() {
    _page = 1 - _page;
    return _file.sync();
}

}  // namespace weir::broker
