// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <limits>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include "files.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

constexpr const char* directory = "/data/t-0";
constexpr std::int32_t most = std::numeric_limits<std::int32_t>::max();

/// A batch whose header says that so many records are in it, compressed; its checksum is right.
std::vector<std::byte> claiming(std::int32_t records) {
    std::vector<std::byte> batch = batch_of(1, 1);
    protocol::store_big(batch.data() + 21, std::int16_t{3});  // lz4
    protocol::store_big(batch.data() + 23, records - 1);
    protocol::store_big(batch.data() + 57, records);
    repair_checksum(batch);
    return batch;
}

future<std::int64_t> end_after_open() {
    std::int64_t end = -1;
    co_await with_log(directory, small_options(), [&end](log& in) -> future<> {
        end = in.end_offset();
        for (std::int64_t at = in.start_offset(); at < end; at += 1 << 28) {
            CHECK((co_await in.read(at, 1000)).bytes > 0);
        }
    });
    co_return end;
}

}  // namespace

TEST_SUITE("broker/storage/offsets") {
    TEST_CASE(
        "batches that claim thousands of millions of records go to segments that can hold them") {
        bed on(71);
        std::int64_t end = 0;
        on.start([&end]() -> future<> {
            co_await io::make_directories(directory);
            recent_memory recent(64 << 10);
            auto opened = co_await log::open(directory, small_options(), recent);
            std::int64_t expected = 0;
            for (const std::int32_t records : {most / 2, most, 1, most, most}) {
                const auto result = co_await opened->append(claiming(records));
                CHECK(result.base_offset == expected);
                expected += records;
            }
            std::vector<future<append_result>> together;
            for (int i = 0; i < 40; ++i) {
                together.push_back(opened->append(claiming(most / 2 + 1)));
            }
            for (auto& each : together) {
                CHECK((co_await std::move(each)).base_offset == expected);
                expected += most / 2 + 1;
            }
            CHECK(opened->segment_count() > 20);
            end = expected;
            co_await sleep_for(std::chrono::hours(1000));
            co_await opened->close();
        });
        REQUIRE(on.world.run_until([&end] { return end > 0; }, std::chrono::hours(1)));
        on.world.kill(on.host);
        for (int start = 0; start < 2; ++start) {
            on.run([end]() -> future<> { CHECK(co_await end_after_open() == end); });
        }
    }

    TEST_CASE("one append of more records than a segment can number is refused") {
        bed on(72);
        on.run([]() -> future<> {
            co_await with_log(directory, small_options(), [](log& to) -> future<> {
                std::vector<std::byte> two = claiming(most);
                const std::vector<std::byte> second = claiming(most);
                two.insert(two.end(), second.begin(), second.end());
                const error refused = co_await failure_of(to.append(two));
                CHECK(refused.is(errc::limit_exceeded));
                CHECK((co_await to.append(batch_of(0, 1))).base_offset == 0);
            });
        });
    }

    TEST_CASE("stored offsets that no segment can have are damage, not the end of the process") {
        bed on(73);
        on.run([]() -> future<> {
            // An open segment as a program without the limit left it.
            std::vector<std::byte> file;
            std::int64_t offset = 0;
            for (const std::int32_t records : {most / 2, most}) {
                std::vector<std::byte> batch = claiming(records);
                protocol::patch_base_offset(batch, offset);
                protocol::patch_leader_epoch(batch, 0);
                offset += records;
                file.insert(file.end(), batch.begin(), batch.end());
            }
            const std::size_t second = file.size() / 2;
            file.resize(8192);
            co_await put_contents(directory, {{"00000000000000000000.log", file}});
            const error refused = co_await failure_of(end_after_open());
            CHECK(refused.is(errc::corrupt));
            CHECK(std::string(refused.what()).find(fmt::format("at byte {} ", second)) !=
                  std::string::npos);
            co_await put_contents(directory, {{"09223372036854775807.log", {}}});
            CHECK((co_await failure_of(end_after_open())).is(errc::corrupt));
        });
    }

    TEST_CASE("a batch's length is not believed beyond one commit") {
        bed on(74);
        on.run([]() -> future<> {
            std::vector<std::byte> file = batch_of(1, 1);
            protocol::patch_leader_epoch(file, 0);
            protocol::store_big(file.data() + 8, std::int32_t{1} << 30);
            co_await put_contents(directory, {{"00000000000000000000.log", file}});
            {
                io::file sparse =
                    co_await io::file::open(fmt::format("{}/00000000000000000000.log", directory),
                                            {.mode = io::op::access::write});
                co_await sparse.truncate(std::uint64_t{1} << 30);
                co_await sparse.close();
            }
            recent_memory recent(0);
            log_metrics metrics;
            const error refused = co_await failure_of(recover(directory, small_options(), metrics));
            CHECK(refused.is(errc::corrupt));
        });
    }
}

}  // namespace weir::broker
