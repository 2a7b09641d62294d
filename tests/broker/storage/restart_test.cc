// SPDX-License-Identifier: Apache-2.0
// What a start after a kill reads of a long log, and what it leaves for later.
#include <algorithm>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "files.hh"
#include "stores.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;
using namespace std::chrono_literals;

namespace {

constexpr int logs = 4;
constexpr int batches = 250;  // of each, all in one segment
constexpr std::size_t value_bytes = 4000;
/// A start reads no more of a log than this, however long it is.
constexpr std::uint64_t read_of_a_log = 48 << 10;

store_options long_logs() {
    store_options options{.log = small_options(), .max_partitions = logs};
    options.log.segment_bytes = 4 << 20;
    options.log.zero_ahead_max_bytes = 1 << 20;
    options.log.idle_max = 1h;
    return options;
}

/// Appends to all, waits until the marks are on the device, and lives on until somebody ends it.
future<> append_and_wait() {
    co_await io::make_directories("/data");
    auto opened = co_await open_store("/data", long_logs());
    for (int i = 0; i < batches; ++i) {
        for (int which = 0; which < logs; ++which) {
            log* const to = co_await opened->create({"t", which});
            co_await to->append(batch_of(i, 1, value_bytes, 1000 + i));
        }
    }
    co_await sleep_for(10h);
}

enum class ending { kill, power_cut };

void run_and_end(bed& on, ending how) {
    on.start(append_and_wait);
    on.world.run_for(1min);
    how == ending::kill ? on.world.kill(on.host) : on.world.power_cut(on.host);
}

future<bool> is_sealed(int which) {
    return io::exists(segment_path(fmt::format("/data/t-{}", which), 0, index_suffix));
}

/// Reads each batch; that of one offset, and no other, is answered as damaged.
future<> check_all_but(log& of, std::int64_t spoilt) {
    for (std::int64_t offset = 0; offset < of.end_offset(); ++offset) {
        CAPTURE(offset);
        std::int64_t got = -1;
        bool damaged = false;
        try {
            const read_result found = co_await of.read(offset, 3 * value_bytes);
            got = records_in(found.chunks.at(0).bytes).at(0).first;
        } catch (const error& e) {
            damaged = e.is(errc::corrupt);
        }
        REQUIRE(damaged == (offset == spoilt));
        REQUIRE(got == (damaged ? -1 : offset));
    }
}

/// A byte of a batch that is spoilt, and how.
struct spoilt_byte {
    std::size_t batch;
    std::size_t at;
    std::byte flipped;
};

}  // namespace

TEST_SUITE("broker/storage/restart") {
    TEST_CASE("a start after a crash reads a little of each log, and writes nothing") {
        for (const ending how : {ending::kill, ending::power_cut}) {
            bed on(131);
            run_and_end(on, how);
            on.run([]() -> future<> {
                auto opened = co_await open_store("/data", long_logs());
                const log_metrics met = opened->metrics();
                CHECK(met.recovered_bytes == 0);
                CHECK(met.recovery_read_bytes > 0);
                CHECK(met.recovery_read_bytes <= logs * read_of_a_log);
                CHECK(met.mark_syncs == 0);
                for (int which = 0; which < logs; ++which) {
                    CHECK(opened->find({"t", which})->end_offset() == batches);
                    CHECK(!co_await is_sealed(which));
                }
                co_await opened->close();
            });
        }
    }

    TEST_CASE("what was left to the mark is read, looked up and appended to as ever") {
        bed on(132);
        run_and_end(on, ending::kill);
        on.run([]() -> future<> {
            auto opened = co_await open_store("/data", long_logs());
            log& by_offset = *opened->find({"t", 0});
            const read_result found = co_await by_offset.read(117, 1);
            CHECK(records_in(found.chunks.at(0).bytes).at(0).second == 117);
            CHECK(by_offset.metrics().walked_later_bytes > batches * value_bytes);
            log& by_time = *opened->find({"t", 1});
            CHECK((co_await by_time.find_timestamp(1100))->offset == 100);
            log& appended = *opened->find({"t", 2});
            CHECK((co_await appended.append(batch_of(batches, 1))).base_offset == batches);
            CHECK(appended.metrics().walked_later_bytes == 0);
            const read_result last = co_await appended.read(batches, 1000);
            CHECK(records_in(last.chunks.at(0).bytes).at(0).second == batches);
            CHECK(appended.metrics().walked_later_bytes == 0);
            // Until it rolls, and what was left must be sealed.
            for (std::uint64_t i = 1; appended.segment_count() == 1; ++i) {
                co_await appended.append(batch_of(batches + i, 1, 15'000));
            }
            const auto end = static_cast<std::uint64_t>(appended.end_offset());
            CHECK(co_await read_all(appended, 0) == numbers(0, end));
            co_await opened->close();
            CHECK(co_await is_sealed(2));
            opened = co_await open_store("/data", long_logs());
            for (int which = 0; which < logs; ++which) {
                log& each = *opened->find({"t", which});
                const auto count = static_cast<std::uint64_t>(each.end_offset());
                CHECK(count == (which == 2 ? end : batches));
                CHECK(co_await read_all(each, 0) == numbers(0, count));
            }
            co_await opened->close();
        });
    }

    TEST_CASE("what was left to the mark is walked in time, at a bounded rate, and sealed") {
        bed on(133);
        run_and_end(on, ending::kill);
        on.run([]() -> future<> {
            store_options options = long_logs();
            options.log.walk_bytes_a_second = 1 << 20;
            auto opened = co_await open_store("/data", options);
            co_await sleep_for(3s);
            const std::uint64_t walked = opened->metrics().walked_later_bytes;
            CHECK(walked <= 4 << 20);
            co_await sleep_for(10s);
            std::uint64_t there = 0;
            for (int which = 0; which < logs; ++which) {
                there += opened->find({"t", which})->size_bytes();
            }
            CHECK(opened->metrics().walked_later_bytes == there);
            CHECK(opened->metrics().rests == logs);
            for (int which = 0; which < logs; ++which) {
                CHECK(co_await is_sealed(which));
            }
            co_await opened->close();
            opened = co_await open_store("/data", options);
            CHECK(opened->metrics().recovery_read_bytes == 0);  // a page each
            CHECK(co_await read_all(*opened->find({"t", 3}), 0) == numbers(0, batches));
            co_await opened->close();
        });
    }

    TEST_CASE("a stop doesn't wait for that walk") {
        bed on(134);
        run_and_end(on, ending::kill);
        on.run([]() -> future<> {
            store_options options = long_logs();
            options.log.walk_bytes_a_second = 1 << 20;
            auto opened = co_await open_store("/data", options);
            co_await opened->find({"t", 0})->append(batch_of(batches, 1));
            co_await sleep_for(1500ms);
            const instant begin = this_shard().now();
            co_await opened->close();
            CHECK(this_shard().now() - begin < 100ms);
            opened = co_await open_store("/data", options);
            CHECK(opened->metrics().recovery_read_bytes <= logs * read_of_a_log);
            CHECK(co_await read_all(*opened->find({"t", 0}), 0) == numbers(0, batches + 1));
            co_await opened->close();
        });
    }

    TEST_CASE("damage below the mark is named by that walk, and all else is served") {
        bed on(135);
        run_and_end(on, ending::kill);
        const std::string path = segment_path("/data/t-0", 0, log_suffix);
        on.run([&on, &path]() -> future<> {
            const auto bytes = co_await read_small_file(path, 4 << 20);
            const std::size_t spoilt = batch_starts(bytes).at(100);
            const std::byte other = bytes.at(spoilt + 200) ^ std::byte{1};
            on.corrupt(path, spoilt + 200, {&other, 1});
            auto opened = co_await open_store("/data", long_logs());
            co_await sleep_for(10s);
            CHECK(opened->metrics().damaged_batches == 1);
            CHECK(opened->quarantined() == 0);
            log& damaged = *opened->find({"t", 0});
            const error met = co_await failure_of(damaged.read(100, 100));
            CHECK(met.is(errc::corrupt));
            CHECK(std::string(met.what()).find(fmt::format("at byte {}", spoilt)) !=
                  std::string::npos);
            CHECK(co_await read_all(damaged, 101) == numbers(101, batches - 101));
            CHECK(damaged.end_offset() == batches);
            CHECK((co_await damaged.append(batch_of(batches, 1))).base_offset == batches);
            co_await opened->close();
        });
    }

    TEST_CASE("one spoilt batch below the mark keeps nothing else from being taken and served") {
        const spoilt_byte harms[] = {
            {100, 5, std::byte{1}},     // base offset
            {100, 10, std::byte{2}},    // length: of what a log may hold
            {100, 8, std::byte{0x40}},  // far beyond that
            {100, 16, std::byte{1}},    // magic
            {100, 24, std::byte{64}},   // offset of the last record
            {100, 35, std::byte{64}},   // largest time
            {100, 300, std::byte{1}},   // a record
            {0, 10, std::byte{2}},     {249, 10, std::byte{2}}, {249, 300, std::byte{1}},
        };
        const std::string path = segment_path("/data/t-0", 0, log_suffix);
        for (const bool walked : {true, false}) {
            for (const spoilt_byte& harm : harms) {
                CAPTURE(walked);
                CAPTURE(harm.batch);
                CAPTURE(harm.at);
                bed on(136);
                run_and_end(on, ending::kill);
                const auto spoilt = static_cast<std::int64_t>(harm.batch);
                const auto use = [&](std::int64_t end, bool names, bool fills) -> future<> {
                    auto opened = co_await open_store("/data", long_logs());
                    log& damaged = *opened->find({"t", 0});
                    CHECK(opened->quarantined() == 0);
                    REQUIRE(damaged.end_offset() == end);
                    if (walked) {
                        co_await sleep_for(10s);
                    }
                    co_await check_all_but(damaged, spoilt);
                    CHECK((!names || opened->metrics().damaged_batches == 1));
                    CHECK((co_await damaged.append(batch_of(end, 1))).base_offset == end);
                    for (auto i = end + 1; fills && damaged.segment_count() == 1; ++i) {
                        CHECK((co_await damaged.append(batch_of(i, 1, 15'000))).base_offset == i);
                    }
                    co_await check_all_but(damaged, spoilt);
                    CHECK(opened->metrics().damaged_batches <= 1);
                    CHECK(!damaged.stopped());
                    co_await opened->close();
                };
                on.run([&]() -> future<> {
                    const auto bytes = co_await read_small_file(path, 4 << 20);
                    const std::size_t at = batch_starts(bytes).at(harm.batch) + harm.at;
                    const std::byte other = bytes.at(at) ^ harm.flipped;
                    on.corrupt(path, at, {&other, 1});
                    co_await use(batches, true, false);
                    co_await use(batches + 1, false, false);
                });
                on.start([&]() -> future<> {
                    auto opened = co_await open_store("/data", long_logs());
                    co_await opened->find({"t", 0})->append(batch_of(batches + 2, 1));
                    co_await sleep_for(10h);
                });
                on.world.run_for(1min);
                on.world.kill(on.host);
                on.run([&]() -> future<> {
                    co_await use(batches + 3, false, true);
                    auto opened = co_await open_store("/data", long_logs());
                    CHECK(opened->quarantined() == 0);
                    co_await check_all_but(*opened->find({"t", 0}), spoilt);
                    co_await opened->close();
                });
            }
        }
    }
}

}  // namespace weir::broker
