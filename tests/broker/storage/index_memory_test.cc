// SPDX-License-Identifier: Apache-2.0
// Indexes of sealed segments: read when they are needed, within a budget, and made anew if spoilt.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <doctest/doctest.h>

#include "bed.hh"

namespace weir::broker {

using storage_test::batch_of;
using storage_test::bed;
using storage_test::numbers;
using storage_test::small_options;

namespace {

constexpr const char* directory = "/t-0";
constexpr std::uint64_t records = 1'000;
constexpr std::size_t value_bytes = 600;  // a hundred records fill a segment

/// A log whose records come from the device, and the indexes that it may keep.
struct indexed {
    recent_memory recent{0};
    index_memory indexes;
    std::unique_ptr<log> of;

    explicit indexed(std::size_t index_bytes) : indexes(index_bytes) {}

    future<> open() {
        of = co_await log::open(directory, small_options(), recent, nullptr, nullptr, nullptr,
                                nullptr, nullptr, &indexes);
    }
};

future<> fill(indexed& log) {
    co_await io::make_directories(directory);
    co_await log.open();
    for (std::uint64_t each = 0; each < records; ++each) {
        co_await log.of->append(
            batch_of(each, 1, value_bytes, 1'000 + static_cast<std::int64_t>(each)));
    }
}

/// The record with an offset, which is its number.
future<> check_read(log& from, std::int64_t offset) {
    const read_result found = co_await from.read(offset, 1);
    REQUIRE(found.chunks.size() == 1);
    const auto there = storage_test::records_in(found.chunks.front().bytes);
    CHECK(there.front().first == offset);
    CHECK(there.front().second == static_cast<std::uint64_t>(offset));
}

/// The first offset of the second segment.
future<std::int64_t> first_of_second(const log& of) {
    std::int64_t first = of.end_offset();
    for (const std::string& name : co_await io::list_directory(directory)) {
        const std::int64_t base = segment_of_file(name, log_suffix).value_or(0);
        first = base > 0 ? std::min(first, base) : first;
    }
    co_return first;
}

/// Spoils an entry in the middle of a segment's .index file: its last one is as it was.
void spoil_index(bed& on, std::int64_t base_offset) {
    constexpr std::byte junk[8] = {std::byte{0x7f}, std::byte{0xff}, std::byte{0x7f}};
    on.corrupt(segment_path(directory, base_offset, index_suffix), 16, junk);
}

}  // namespace

TEST_SUITE("broker/storage/index memory") {
    TEST_CASE("indexes come when somebody reads, and take no more than they may") {
        constexpr std::size_t may_take = 500;  // of two or three segments
        bed on(71);
        on.run([&]() -> future<> {
            indexed log(may_take);
            co_await fill(log);
            REQUIRE(log.of->segment_count() >= 9);
            CHECK(log.indexes.used() == 0);
            CHECK(log.of->metrics().index_loads == 0);
            std::uint64_t sought = 7;
            for (int times = 0; times < 100; ++times) {
                sought = sought * 6364136223846793005 + 1442695040888963407;
                co_await check_read(*log.of, static_cast<std::int64_t>(sought >> 33) % records);
                CHECK(log.indexes.used() <= may_take);
            }
            CHECK(log.indexes.used() > 0);
            CHECK(log.of->metrics().index_loads > log.of->segment_count());
            co_await log.of->close();
            CHECK(log.indexes.used() == 0);
            // A start reads none of them.
            co_await log.open();
            CHECK(log.of->end_offset() == records);
            CHECK(log.of->metrics().index_loads == 0);
            const auto found = co_await log.of->find_timestamp(1'505);
            CHECK(found->offset == 505);
            CHECK(log.of->metrics().index_loads >= 1);
            co_await log.of->close();
        });
    }

    TEST_CASE("a spoilt index is made anew where it is needed, and written again") {
        bed on(72);
        on.run([&]() -> future<> {
            indexed log(1 << 20);
            co_await fill(log);
            co_await log.of->close();
            spoil_index(on, 0);
            co_await log.open();
            CHECK(log.of->metrics().recovered_bytes == 0);
            co_await check_read(*log.of, 50);
            CHECK(log.of->metrics().damaged_indexes == 1);
            co_await log.of->close();
            co_await log.open();
            co_await check_read(*log.of, 51);
            CHECK(log.of->metrics().index_loads == 1);
            CHECK(log.of->metrics().damaged_indexes == 0);
            co_await log.of->close();
        });
    }

    TEST_CASE("an index that became spoilt after the start leads to no byte behind its segment") {
        bed on(75);
        on.run([&]() -> future<> {
            indexed log(1 << 20);
            co_await fill(log);
            co_await log.of->close();
            co_await log.open();
            const std::string path = segment_path(directory, 0, index_suffix);
            const auto bytes = co_await read_small_file(path, 1 << 20);
            constexpr std::byte far[4] = {std::byte{0x7f}, std::byte{0xff}, std::byte{0xff},
                                          std::byte{0xff}};
            on.corrupt(path, bytes.size() - sizeof far, far);
            co_await check_read(*log.of, (co_await first_of_second(*log.of)) - 1);
            CHECK(log.of->metrics().damaged_indexes == 1);
            co_await log.of->close();
        });
    }

    TEST_CASE("a spoilt index keeps nobody from appending to its segment") {
        bed on(73);
        on.run([&]() -> future<> {
            indexed log(1 << 20);
            co_await fill(log);
            co_await log.of->close();
            std::int64_t base = 0;
            for (const std::string& name : co_await io::list_directory(directory)) {
                base = std::max(base, segment_of_file(name, log_suffix).value_or(0));
            }
            spoil_index(on, base);
            co_await log.open();
            co_await check_read(*log.of, records - 1);
            CHECK((co_await log.of->append(batch_of(records, 1))).base_offset == records);
            CHECK(!log.of->stopped());
            CHECK(log.of->metrics().damaged_indexes >= 1);
            CHECK(co_await storage_test::read_all(*log.of, 0) == numbers(0, records + 1));
            co_await log.of->close();
            co_await log.open();
            CHECK(co_await storage_test::read_all(*log.of, 0) == numbers(0, records + 1));
            co_await log.of->close();
        });
    }

    TEST_CASE("of a log that rests is told how much there is, once that was prepared") {
        bed on(74);
        on.run([&]() -> future<> {
            indexed log(1 << 20);
            co_await fill(log);
            co_await log.of->rest();
            CHECK(!log.of->active());
            co_await log.of->prepare_outlook(records);
            CHECK(log.of->metrics().index_loads == 0);
            co_await log.of->prepare_outlook(records - 1);
            const auto there = log.of->outlook(records - 1, 1 << 20);
            // No more than lies between two entries of the index, beside the batch.
            CHECK(there.bytes >= value_bytes);
            CHECK(there.bytes <= small_options().segment_bytes / 4);
            co_await log.of->close();
        });
    }
}

}  // namespace weir::broker
