// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log_mark.hh>
#include <broker/storage/names.hh>
#include <broker/storage/tail_copy.hh>
#include <broker/storage/torn_batch.hh>

#include "bed.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

std::vector<std::byte> bytes_of(std::size_t count, unsigned salt) {
    std::vector<std::byte> bytes(count);
    for (std::size_t i = 0; i < count; ++i) {
        bytes[i] = std::byte{static_cast<unsigned char>((i * 31 + salt) % 255 + 1)};
    }
    return bytes;
}

log_options with_copy() {
    log_options options = small_options();
    options.tail_copy = true;
    return options;
}

}  // namespace

TEST_SUITE("broker/storage/tail_copy") {
    TEST_CASE("the last copy that was written is read, and one with a flipped bit is not") {
        bed on(51);
        on.run([&on]() -> future<> {
            const std::string path = segment_path("/data", 7, tail_copy_suffix);
            co_await io::make_directories("/data");
            auto copy = co_await tail_copy::open("/data", 7, with_copy());
            CHECK_FALSE(co_await tail_copy::read("/data", 7, with_copy()));
            for (const std::size_t length : {9000, 1, 4095, 4096, 4097}) {
                const auto bytes = bytes_of(length, static_cast<unsigned>(length));
                co_await copy->write(8192, bytes);
                const auto found = co_await tail_copy::read("/data", 7, with_copy());
                REQUIRE(found);
                CHECK(found->position == 8192);
                CHECK(found->end() == 8192 + length);
                CHECK(std::equal(bytes.begin(), bytes.end(), found->pages.data()));
                CHECK(found->pages.size() % 4096 == 0);
            }
            co_await copy->close();
            for (const std::size_t at : {0, 8, 15, 20, 25, 31, 33, 4096, 8191, 8192}) {
                std::vector<std::byte> one{on.host.disk().bytes(path).at(at) ^ std::byte{4}};
                on.corrupt(path, at, one);
                CHECK_FALSE(co_await tail_copy::read("/data", 7, with_copy()));
                one[0] ^= std::byte{4};
                on.corrupt(path, at, one);
            }
            CHECK(co_await tail_copy::read("/data", 7, with_copy()));
        });
    }

    TEST_CASE("a closed log leaves no side file, and without the option there never is one") {
        for (const bool copies : {false, true}) {
            bed on(52);
            on.run([copies]() -> future<> {
                log_options options = small_options();
                options.tail_copy = copies;
                for (int round = 0; round < 3; ++round) {
                    co_await with_log("/data/t-0", options, [copies](log& to) -> future<> {
                        for (int i = 0; i < 40; ++i) {
                            co_await to.append(batch_of(i, 1, 3000));
                        }
                        CHECK((to.metrics().tail_copies > 0) == copies);
                        CHECK((to.metrics().tail_copies <= to.metrics().commits + 3));
                        std::size_t side_files = 0;
                        for (const std::string& name : co_await io::list_directory("/data/t-0")) {
                            side_files += name.ends_with(tail_copy_suffix) ? 1 : 0;
                        }
                        CHECK((side_files > 0) == copies);
                    });
                    for (const std::string& name : co_await io::list_directory("/data/t-0")) {
                        CHECK_FALSE(name.ends_with(tail_copy_suffix));
                    }
                }
            });
        }
    }

    TEST_CASE("a spoilt tail page is restored from its copy, also without the option") {
        bed on(53);
        on.start([]() -> future<> {
            co_await io::make_directories("/data/t-0");
            recent_memory recent(0);
            auto opened = co_await log::open("/data/t-0", with_copy(), recent);
            for (int i = 0; i < 9; ++i) {
                co_await opened->append(batch_of(i, 1, 700));
            }
            co_await sleep_for(std::chrono::hours(10));
        });
        on.world.run_for(std::chrono::seconds(10));
        on.world.power_cut(on.host);
        const std::string path = "/data/t-0/00000000000000000000.log";
        // The copy was made before the ninth: what it has is of eight.
        on.corrupt(path, 4096, bytes_of(4096, 3));
        on.run([]() -> future<> {
            const error refused = co_await failure_of(
                with_log("/data/t-0", with_copy(), [](log&) { return make_ready_future(); }));
            CHECK(refused.is(errc::corrupt));  // the ninth was acknowledged, too
        });
        on.corrupt(path, 4096, bytes_of(4096, 3));
        on.run([]() -> future<> {
            // As if the power had gone while the ninth was on its way.
            auto mark = co_await log_mark::open("/data/t-0", {0, 8, 0, 6160}, true);
            co_await mark->close();
            co_await with_log("/data/t-0", small_options(), [](log& in) -> future<> {
                CHECK(in.metrics().restored_tails == 1);
                CHECK(in.end_offset() == 8);
                CHECK(co_await read_all(in, 0) == numbers(0, 8));
                CHECK((co_await in.append(batch_of(8, 1))).base_offset == 8);
            });
        });
    }

    TEST_CASE("a copy of an earlier start says nothing of what was appended without the option") {
        for (const bool stopped_between : {false, true}) {
            bed on(55);
            on.start([]() -> future<> {
                co_await io::make_directories("/data/t-0");
                recent_memory recent(0);
                auto opened = co_await log::open("/data/t-0", with_copy(), recent);
                for (int i = 0; i < 9; ++i) {
                    co_await opened->append(batch_of(i, 1, 700));
                }
                co_await sleep_for(std::chrono::hours(10));
            });
            on.world.run_for(std::chrono::seconds(10));
            on.world.kill(on.host);
            if (stopped_between) {
                on.run([]() -> future<> {
                    co_await with_log("/data/t-0", small_options(),
                                      [](log&) { return make_ready_future(); });
                });
            }
            on.start([]() -> future<> {
                recent_memory recent(0);
                auto opened = co_await log::open("/data/t-0", small_options(), recent);
                co_await opened->append(batch_of(9, 1, 700));
                co_await opened->append(batch_of(10, 1, 700));
                co_await sleep_for(std::chrono::hours(10));
            });
            on.world.run_for(std::chrono::seconds(10));
            on.world.power_cut(on.host);
            on.run([&on]() -> future<> {
                // The mark is older than the last commit, of which a bit is spoilt.
                auto mark = co_await log_mark::open("/data/t-0", {0, 9, 0, 6930}, true);
                co_await mark->close();
                const std::string path = "/data/t-0/00000000000000000000.log";
                const std::byte other = on.host.disk().bytes(path).at(7800) ^ std::byte{1};
                on.corrupt(path, 7800, {&other, 1});
                const error refused = co_await failure_of(with_log(
                    "/data/t-0", small_options(), [](log&) { return make_ready_future(); }));
                CHECK(refused.is(errc::corrupt));
            });
        }
    }

    TEST_CASE("what is copied and is not in the log is damage") {
        bed on(54);
        on.start([]() -> future<> {
            co_await io::make_directories("/data/t-0");
            recent_memory recent(0);
            auto opened = co_await log::open("/data/t-0", with_copy(), recent);
            for (int i = 0; i < 9; ++i) {
                co_await opened->append(batch_of(i, 1, 700));
            }
            co_await sleep_for(std::chrono::hours(10));
        });
        on.world.run_for(std::chrono::seconds(10));
        on.world.power_cut(on.host);
        on.corrupt("/data/t-0/00000000000000000000.log", 3000, bytes_of(10, 3));
        on.run([]() -> future<> {
            // Without the mark, which covers it, a start looks at all of it.
            co_await io::unlink(std::string("/data/t-0/") + std::string(mark_name));
            const error refused = co_await failure_of(
                with_log("/data/t-0", with_copy(), [](log&) { return make_ready_future(); }));
            CHECK(refused.is(errc::corrupt));
            CHECK(std::string(refused.what()).find("copy") != std::string::npos);
        });
    }
}

TEST_SUITE("broker/storage/torn_batch") {
    // Every way in which a device that keeps sectors old or new can leave a batch, wherever it
    // lies; and one bit more, anywhere, that no such device leaves.
    TEST_CASE("old and new sectors are told from spoilt ones") {
        constexpr std::int64_t offset = 0x1234567;
        std::vector<std::byte> batch = batch_of(1, 1, 1400);
        protocol::patch_base_offset(batch, offset);
        const log_options options = small_options();
        unsigned told = 0;
        unsigned spoilt = 0;
        for (std::uint64_t position = 4096; position < 4096 + 512; ++position) {
            const std::size_t first = 512 - position % 512;  // bytes of it in its first sector
            const std::size_t sectors = 1 + (batch.size() - first + 511) / 512;
            for (unsigned kept = 0; kept + 1 < 1U << sectors; ++kept) {
                std::vector<std::byte> there = batch;
                there.resize(batch.size() + 5000);
                for (std::size_t i = 0; i < batch.size(); ++i) {
                    const std::size_t of = i < first ? 0 : 1 + (i - first) / 512;
                    there[i] = (kept >> of & 1) != 0 ? there[i] : std::byte{0};
                }
                if (std::equal(batch.begin(), batch.end(), there.begin())) {
                    continue;  // the sector that is old has zeros of the batch only
                }
                REQUIRE(may_be_torn(there, position, offset, 0, options));
                ++told;
            }
            // Whole but for one bit: where it does harm, and is no field that none can know.
            for (std::size_t at = 17; at < batch.size(); at += 13) {
                std::vector<std::byte> there = batch;
                there.resize(batch.size() + 5000);
                there[at] ^= std::byte{1};
                REQUIRE_FALSE(may_be_torn(there, position, offset, 0, options));
                ++spoilt;
            }
            // Its header's sectors are junk.
            std::vector<std::byte> there = bytes_of(batch.size() + 5000, 7);
            REQUIRE_FALSE(may_be_torn(there, position, offset, 0, options));
            std::copy(batch.begin(), batch.begin() + static_cast<long>(first), there.begin());
            REQUIRE_FALSE(may_be_torn(there, position, offset, 0, options));
        }
        CHECK(told > 1000);
        CHECK(spoilt > 1000);
    }
}

}  // namespace weir::broker
