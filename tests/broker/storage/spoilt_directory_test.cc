// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <random>

#include <broker/storage/log.hh>
#include <broker/storage/log_mark.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "files.hh"

namespace weir::broker {

using namespace storage_test;

namespace {

constexpr const char* directory = "/data/t-0";

log_options spoilt_options() {
    log_options options = small_options();
    options.segment_bytes = 8 << 10;
    options.max_batch_bytes = 2 << 10;
    options.max_commit_bytes = 2 << 10;
    options.tail_copy = true;
    return options;
}

/// Changes a directory's files as no writer of ours would: bytes, fields with a right checksum,
/// lengths, names, and whole files.
class spoiler {
  public:
    spoiler(std::uint64_t seed, const contents& good) : _random(seed), _files(good) {}

    contents spoil() {
        for (auto left = 1 + below(4); left > 0; --left) {
            once();
        }
        return std::move(_files);
    }

  private:
    std::uint64_t below(std::uint64_t limit) { return _random() % limit; }

    contents::value_type& any_file() {
        return *std::next(_files.begin(), static_cast<long>(below(_files.size())));
    }

    /// A number at the edge of something.
    std::uint64_t edge() {
        static constexpr std::uint64_t edges[] = {0,
                                                  1,
                                                  60,
                                                  61,
                                                  4095,
                                                  4096,
                                                  INT32_MAX - 1,
                                                  INT32_MAX,
                                                  std::uint64_t{INT32_MAX} + 1,
                                                  UINT32_MAX,
                                                  INT64_MAX - 1,
                                                  INT64_MAX,
                                                  UINT64_MAX};
        return edges[below(std::size(edges))];
    }

    void once() {
        if (_files.empty()) {
            return;
        }
        auto& [name, bytes] = any_file();
        switch (below(9)) {
            case 0:
                flip(bytes);
                break;
            case 1:
                field(bytes);
                break;
            case 2:
                bytes.resize(below(bytes.size() + 1));
                break;
            case 3:
                bytes.resize(bytes.size() + below(20'000), std::byte(below(2) * 0x41));
                break;
            case 4:
                rename(name);
                break;
            case 5:
                _files.erase(std::string(name));
                break;
            case 6:
                bytes = any_file().second;
                break;
            case 7:
                batch_field(bytes);
                break;
            default:
                side_file_field(name, bytes);
        }
    }

    void flip(std::vector<std::byte>& bytes) {
        if (!bytes.empty()) {
            bytes[below(bytes.size())] ^= std::byte{1} << below(8);
        }
    }

    void field(std::vector<std::byte>& bytes) {
        const std::size_t width = below(2) == 0 ? 4 : 8;
        if (bytes.size() < width) {
            return;
        }
        const std::size_t at = below(bytes.size() - width + 1) / 4 * 4;
        store(bytes, at, width);
    }

    void store(std::vector<std::byte>& bytes, std::size_t at, std::size_t width) {
        if (at + width > bytes.size()) {
            return;
        }
        if (width == 4) {
            protocol::store_big(bytes.data() + at, static_cast<std::uint32_t>(edge()));
        } else {
            protocol::store_big(bytes.data() + at, edge());
        }
    }

    /// A field of a batch's header, and its checksum again.
    void batch_field(std::vector<std::byte>& bytes) {
        const auto starts = batch_starts(bytes);
        if (starts.size() < 2) {
            return;
        }
        const std::size_t which = below(starts.size() - 1);
        const std::span<std::byte> batch =
            std::span(bytes).subspan(starts[which], starts[which + 1] - starts[which]);
        static constexpr std::pair<std::size_t, std::size_t> fields[] = {
            {0, 8}, {8, 4}, {12, 4}, {23, 4}, {27, 8}, {35, 8}, {43, 8}, {57, 4}};
        const auto [at, width] = fields[below(std::size(fields))];
        store(bytes, starts[which] + at, width);
        repair_checksum(batch);
    }

    /// A field of a mark or of a tail's copy, and its checksum again.
    void side_file_field(const std::string& name, std::vector<std::byte>& bytes) {
        if (name == mark_name && bytes.size() >= 8192) {
            const std::size_t record = below(128) * 64;
            store(bytes, record + 16 + below(5) * 8, 8);
            protocol::store_big(bytes.data() + record + 12,
                                protocol::crc32c(std::span(bytes).subspan(record + 16, 48)));
        } else if (name.ends_with(tail_copy_suffix) && bytes.size() > 8192) {
            store(bytes, 8 + below(3) * 8, 8);
            const auto length = protocol::load_big<std::uint64_t>(bytes.data() + 24);
            if (length <= bytes.size() - 4096) {
                protocol::store_big(bytes.data() + 32, std::uint32_t{0});
                protocol::store_big(bytes.data() + 32,
                                    protocol::crc32c(std::span(bytes).first(4096 + length)));
            }
        }
    }

    void rename(const std::string& from) {
        auto moved = _files.extract(std::string(from));
        static constexpr std::string_view suffixes[] = {
            log_suffix, index_suffix, time_index_suffix, tail_copy_suffix, ".unfinished", ""};
        moved.key() = fmt::format("{:020}{}", below(2) == 0 ? edge() : below(100),
                                  suffixes[below(std::size(suffixes))]);
        _files.insert(std::move(moved));
    }

    std::mt19937_64 _random;
    contents _files;
};

/// Some segments, of which the last is open and has a tail copy.
future<contents> open_log() {
    contents taken;
    co_await with_log(directory, spoilt_options(), [&taken](log& to) -> future<> {
        for (int i = 0; i < 50; ++i) {
            co_await to.append(batch_of(i * 2, 2, 200));
        }
        taken = co_await take_contents(directory);
    });
    co_return taken;
}

/// Opens, reads all, looks up a time, appends, closes. Whatever fails does so with an error.
/// returns  whether it could be opened
future<bool> use() {
    recent_memory recent(0);
    std::unique_ptr<log> opened;
    try {
        opened = co_await log::open(directory, spoilt_options(), recent);
    } catch (const error&) {
        co_return false;
    }
    for (std::int64_t at = opened->start_offset(), reads = 0;
         at < opened->end_offset() && reads < 200; ++reads) {
        try {
            const read_result got = co_await opened->read(at, 1000);
            protocol::batch_walk walk(got.chunks.at(0).bytes);
            while (const auto batch = walk.next()) {
                at = batch->next_offset();
            }
        } catch (const error&) {
            ++at;
        }
    }
    try {
        co_await opened->find_timestamp(1001);
        co_await opened->append(batch_of(1, 1));
    } catch (const error&) {
        // It said so.
    }
    co_await opened->close();
    co_return true;
}

}  // namespace

TEST_SUITE("broker/storage/spoilt directory") {
    TEST_CASE("whatever a partition's directory holds, a start opens it or says what is wrong") {
        bed on(81);
        int opened = 0;
        int refused = 0;
        on.run([&]() -> future<> {
            const contents good = co_await open_log();
            CHECK(good.contains(std::string(mark_name)));
            for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
                co_await put_contents(directory, spoiler(seed, good).spoil());
                try {
                    ++(co_await use() ? opened : refused);
                } catch (const std::exception& e) {
                    const outside memory;
                    MESSAGE("seed ", seed, ": ", std::string(e.what()));
                    throw;
                }
            }
        });
        CHECK(opened > 300);
        CHECK(refused > 300);
    }
}

}  // namespace weir::broker
