// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/read_ahead.hh>

#include "bed.hh"
#include <weir/core/await_all.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

constexpr std::uint64_t stored = 60;  // one record each, of 3,000 bytes

/// Fills a log that keeps nothing in memory, and hands it to `body`.
future<> with_stored(read_ahead_memory& ahead, log_options options,
                     std::function<future<>(log&)> body) {
    co_await io::make_directories("/data/t-0");
    recent_memory recent(0);
    auto opened = co_await log::open("/data/t-0", options, recent, &ahead);
    for (std::uint64_t i = 0; i < stored; ++i) {
        co_await opened->append(batch_of(i, 1, 3000));
    }
    CHECK(opened->segment_count() > 2);
    co_await body(*opened);
    co_await opened->close();
    CHECK(ahead.used_bytes() == 0);
}

/// Reads once; returns where to read on.
future<std::int64_t> step(log& from, std::int64_t offset, std::size_t max_bytes) {
    const read_result result = co_await from.read(offset, max_bytes);
    REQUIRE(result.chunks.size() == 1);
    for (const auto& [at, value] : records_in(result.chunks[0].bytes)) {
        REQUIRE(at == offset);
        REQUIRE(value == static_cast<std::uint64_t>(offset));
        ++offset;
    }
    co_return offset;
}

}  // namespace

TEST_SUITE("broker/storage/read_ahead") {
    TEST_CASE("who reads on is read ahead for, over the ends of segments") {
        bed on(1);
        on.run([]() -> future<> {
            read_ahead_memory ahead(1 << 20);
            co_await with_stored(ahead, small_options(), [](log& from) -> future<> {
                CHECK(co_await read_all(from, 0, 7000) == numbers(0, stored));
                // Two batches a read. The first two reads were asked for, and none after the end.
                CHECK(from.metrics().reads_from_disk >= stored / 2);
                CHECK(from.metrics().reads_ahead == from.metrics().reads_from_disk - 2);
                CHECK(from.metrics().reads_ahead_dropped == 0);
            });
        });
    }

    TEST_CASE("a reader who goes on reads no batch twice") {
        bed on(2);
        on.run([]() -> future<> {
            read_ahead_memory nothing(0);
            co_await with_stored(nothing, small_options(), [](log& from) -> future<> {
                std::int64_t offset = co_await step(from, 0, 6500);
                const std::uint64_t before = from.metrics().disk_read_bytes;
                offset = co_await step(from, offset, 6500);
                CHECK(offset == 4);
                CHECK(from.metrics().disk_read_bytes - before < 6500 + 4 * page_size);
                CHECK(from.metrics().reads_ahead == 0);
            });
        });
    }

    TEST_CASE("whichever allocation of reading on fails, nothing stays charged for it") {
        whichever_allocation_fails(6, [](scarcity& scarce) {
            bed on(4);
            on.run([&]() -> future<> {
                read_ahead_memory ahead(1 << 20);
                co_await with_stored(ahead, small_options(), [&](log& from) -> future<> {
                    std::int64_t offset = co_await step(from, 0, 7000);
                    offset = co_await step(from, offset, 7000);
                    scarce.begin();
                    for (const std::int64_t at : {offset, offset + 2, offset + 4}) {
                        auto next = futurize([&] { return from.read(at, 7000); });
                        co_await settled(next);
                        std::move(next).ignore();
                    }
                    scarce.end();
                    const auto left = static_cast<std::uint64_t>(offset);
                    CHECK(co_await read_all(from, offset, 7000) == numbers(left, stored - left));
                });
            });
        });
    }

    TEST_CASE("who asks for less than was read ahead gets no more than that") {
        bed on(3);
        on.run([]() -> future<> {
            read_ahead_memory ahead(1 << 20);
            co_await with_stored(ahead, small_options(), [](log& from) -> future<> {
                std::int64_t offset = co_await step(from, 0, 14'000);
                offset = co_await step(from, offset, 14'000);
                CHECK(from.metrics().reads_ahead == 1);
                CHECK(co_await step(from, offset, 3500) == offset + 1);
                CHECK(co_await step(from, offset + 1, 3500) == offset + 2);
                CHECK(co_await step(from, offset + 2, 1) == offset + 3);
            });
        });
    }

    TEST_CASE("what is read ahead stays below its limit, until somebody has not come for it") {
        bed on(4);
        on.run([]() -> future<> {
            const std::size_t one = 7000 + 2 * page_size;
            read_ahead_memory ahead(2 * one + 100);
            co_await with_stored(ahead, small_options(), [&ahead](log& from) -> future<> {
                for (const std::int64_t reader : {0, 10, 20}) {
                    const std::int64_t offset = co_await step(from, reader, 7000);
                    co_await step(from, offset, 7000);
                }
                CHECK(from.metrics().reads_ahead == 2);
                CHECK(ahead.used_bytes() <= ahead.limit_bytes());
                CHECK(from.metrics().reads_ahead_dropped == 0);
                co_await sleep_until(this_shard().now() + std::chrono::seconds(6));
                const std::int64_t offset = co_await step(from, 30, 7000);
                co_await step(from, offset, 7000);
                CHECK(from.metrics().reads_ahead == 3);
                CHECK(from.metrics().reads_ahead_dropped == 1);
                CHECK(ahead.used_bytes() <= ahead.limit_bytes());
            });
        });
    }

    TEST_CASE("the reader who has been away for longest is forgotten for a new one") {
        bed on(5);
        on.run([]() -> future<> {
            read_ahead_memory ahead(1 << 20);
            log_options options = small_options();
            options.max_followed_readers = 2;
            co_await with_stored(ahead, options, [](log& from) -> future<> {
                for (const std::int64_t reader : {0, 10, 20}) {
                    co_await step(from, reader, 3500);
                }
                co_await step(from, 1, 3500);  // forgotten: a new one, who displaces another
                CHECK(from.metrics().reads_ahead == 0);
                co_await step(from, 21, 3500);
                CHECK(from.metrics().reads_ahead == 1);
            });
        });
    }

    TEST_CASE("a log is closed while it is read ahead") {
        bed on(6);
        on.run([]() -> future<> {
            read_ahead_memory ahead(1 << 20);
            co_await with_stored(ahead, small_options(), [](log& from) -> future<> {
                co_await step(from, co_await step(from, 0, 7000), 7000);
                CHECK(from.metrics().reads_ahead == 1);
            });
        });
    }
}

}  // namespace weir::broker
