// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log.hh>
#include <broker/storage/names.hh>

#include "bed.hh"

namespace weir::broker {

using namespace storage_test;

TEST_SUITE("broker/storage/log") {
    TEST_CASE("an append is read back, from memory and after reopening from disk") {
        bed on(1);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                CHECK(to.start_offset() == 0);
                CHECK(to.end_offset() == 0);
                CHECK((co_await to.append(batch_of(10, 3))).base_offset == 0);
                CHECK((co_await to.append(batch_of(13, 2))).base_offset == 3);
                CHECK(to.end_offset() == 5);
                CHECK(co_await read_all(to, 0) == numbers(10, 5));
                CHECK(to.metrics().reads_from_disk == 0);
            });
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                CHECK(to.end_offset() == 5);
                CHECK(to.metrics().recovered_bytes == 0);  // closed well: nothing was walked
                CHECK(co_await read_all(to, 0) == numbers(10, 5));
                CHECK(co_await read_all(to, 4) == numbers(14, 1));
                CHECK(to.metrics().reads_from_memory == 0);
                CHECK((co_await to.append(batch_of(15, 1))).base_offset == 5);
                CHECK(co_await read_all(to, 0) == numbers(10, 6));
            });
        });
    }

    TEST_CASE("offsets are given in the order of the calls, and what waits shares a commit") {
        bed on(2);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                std::vector<future<append_result>> running;
                for (int i = 0; i < 50; ++i) {
                    running.push_back(to.append(batch_of(i, 1)));
                }
                for (int i = 0; i < 50; ++i) {
                    CHECK((co_await std::move(running[i])).base_offset == i);
                    CHECK(to.end_offset() > i);
                }
                CHECK(to.metrics().commits < 5);
                CHECK(co_await read_all(to, 0) == numbers(0, 50));
            });
        });
    }

    TEST_CASE("a segment that is full is rolled, and all its files are as long as their data") {
        bed on(3);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                for (int i = 0; i < 100; ++i) {
                    co_await to.append(batch_of(i, 1, 3000));
                }
                CHECK(to.metrics().rolls == 4);
                CHECK(to.segment_count() == 5);
                CHECK(co_await read_all(to, 0) == numbers(0, 100));
            });
            std::uint64_t bytes = 0;
            for (const std::string& name : co_await io::list_directory("/data/t-0")) {
                if (const auto base = segment_of_file(name, log_suffix)) {
                    auto file = co_await io::file::open("/data/t-0/" + name, {});
                    std::vector<std::byte> content(co_await file.size());
                    co_await file.read(0, content);
                    co_await file.close();
                    CHECK(records_in(content).front().first == *base);
                    CHECK(content.size() <= (64 << 10));
                    bytes += content.size();
                }
            }
            co_await with_log("/data/t-0", small_options(), [&](log& to) -> future<> {
                CHECK(to.size_bytes() == bytes);
                CHECK(to.segment_count() == 5);
                CHECK(co_await read_all(to, 0) == numbers(0, 100));
                CHECK(co_await read_all(to, 50, 100) == numbers(50, 50));
            });
        });
    }

    TEST_CASE("a read gives whole batches, at least one, and only what is durable") {
        bed on(4);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                for (int i = 0; i < 10; ++i) {
                    co_await to.append(batch_of(i * 3, 3, 1000));
                }
                for (int round = 0; round < 2; ++round) {
                    const auto one = co_await to.read(4, 1);
                    CHECK(records_in(one.chunks.at(0).bytes).size() == 3);
                    CHECK(records_in(one.chunks.at(0).bytes).front().first == 3);
                    const auto two = co_await to.read(4, 2 * one.bytes + 10);
                    CHECK(two.bytes == 2 * one.bytes);
                    const auto exact = co_await to.read(3, 3 * one.bytes);
                    CHECK(exact.bytes == 3 * one.bytes);
                    const auto end = co_await to.read(30, 1000);
                    CHECK(end.how == read_result::outcome::ok);
                    CHECK(end.chunks.empty());
                    CHECK(end.end_offset == 30);
                    CHECK((co_await to.read(31, 1)).how == read_result::outcome::out_of_range);
                    CHECK((co_await to.read(-1, 1)).how == read_result::outcome::out_of_range);
                    auto pending = to.append(batch_of(30, 1));
                    CHECK((co_await to.read(30, 1000)).chunks.empty());
                    co_await std::move(pending);
                    co_return;
                }
            });
        });
    }

    TEST_CASE("what exceeds a limit is refused, and the log goes on") {
        bed on(5);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                CHECK((co_await failure_of(to.append(batch_of(0, 1, 16 << 10))))
                          .is(errc::limit_exceeded));
                auto half = batch_of(0, 1);
                half.pop_back();
                CHECK((co_await failure_of(to.append(half))).is(errc::malformed));
                CHECK((co_await failure_of(to.append({}))).is(errc::malformed));
                std::vector<future<append_result>> running;
                for (int i = 0; i < 5; ++i) {
                    running.push_back(to.append(batch_of(i, 1, 12 << 10)));
                }
                CHECK((co_await failure_of(to.append(batch_of(9, 1, 15 << 10))))
                          .is(errc::overloaded));
                CHECK(to.metrics().appends_refused == 1);
                for (auto& each : running) {
                    co_await std::move(each);
                }
                co_await to.wait_for_room();
                CHECK((co_await to.append(batch_of(5, 1))).base_offset == 5);
                CHECK(co_await read_all(to, 0) == numbers(0, 6));
            });
        });
    }

    TEST_CASE("a listener hears of each commit") {
        struct counter final : end_listener {
            void end_moved() noexcept override { ++count; }
            int count = 0;
        };
        bed on(6);
        on.run([]() -> future<> {
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                {
                    counter gone;
                    to.listen(gone);
                }
                counter heard;
                to.listen(heard);
                co_await to.append(batch_of(0, 1));
                CHECK(heard.count == 1);
                co_await to.append(batch_of(1, 1));
                CHECK(heard.count == 2);
            });
        });
    }

    TEST_CASE("a time leads to the first record that is not older") {
        bed on(7);
        on.run([]() -> future<> {
            const auto check = [](log& in) -> future<> {
                for (int i = 0; i < 60; i += 7) {
                    const auto found = co_await in.find_timestamp(1000 + i * 10 + 1);
                    REQUIRE(found);
                    CHECK(found->offset == i * 2 + 1);
                    CHECK(found->timestamp == 1000 + i * 10 + 1);
                }
                CHECK((co_await in.find_timestamp(0))->offset == 0);
                CHECK_FALSE(co_await in.find_timestamp(5000));
            };
            co_await with_log("/data/t-0", small_options(), [&](log& to) -> future<> {
                for (int i = 0; i < 60; ++i) {
                    co_await to.append(batch_of(i * 2, 2, 1500, 1000 + i * 10));
                }
                co_await check(to);
            });
            co_await with_log("/data/t-0", small_options(), check);
        });
    }

    TEST_CASE("a quiet log takes little disk, a busy one is zeroed farther ahead") {
        bed on(8);
        on.run([]() -> future<> {
            log_options options;
            co_await with_log("/data/t-0", options, [](log& to) -> future<> {
                CHECK(to.metrics().zeroed_bytes == 0);
                co_await to.append(batch_of(0, 1));
                CHECK(to.metrics().zeroed_bytes == (64 << 10));
                for (int i = 0; i < 100; ++i) {
                    co_await to.append(batch_of(i, 1, 200 << 10));
                }
                CHECK(to.metrics().zeroed_bytes > (19 << 20));
                CHECK(to.metrics().zeroed_bytes < (32 << 20));
            });
        });
    }

    TEST_CASE("a large commit is not written twice: its space is reserved, not zeroed") {
        bed on(12);
        on.run([]() -> future<> {
            log_options options;
            options.segment_bytes = 4 << 20;
            std::uint64_t count = 0;
            co_await with_log("/data/t-0", options, [&count](log& to) -> future<> {
                const auto append = [&](int times, std::size_t bytes) -> future<std::uint64_t> {
                    const std::uint64_t before = to.metrics().zeroed_bytes;
                    for (; times > 0; --times) {
                        co_await to.append(batch_of(count++, 1, bytes));
                    }
                    co_return to.metrics().zeroed_bytes - before;
                };
                co_await append(1, 100);
                // What the first one began to zero may still have been under way.
                CHECK(co_await append(5, 500 << 10) < (1 << 20));
                CHECK(co_await append(10, 100) > 0);
                // Only what a new segment begins with.
                CHECK(co_await append(20, 500 << 10) < (1 << 20));
                CHECK(to.metrics().rolls > 1);
                CHECK(co_await append(10, 20 << 10) > 0);
                CHECK(co_await read_all(to, 0, 1 << 20) == numbers(0, count));
            });
            co_await with_log("/data/t-0", options, [&count](log& in) -> future<> {
                CHECK(co_await read_all(in, 0, 1 << 20) == numbers(0, count));
            });
        });
    }

    TEST_CASE("a full disk refuses appends, and takes them again when there is space") {
        io::sim::world_options options;
        options.disk.capacity = 200 << 10;
        bed on(9, options);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            auto ballast = co_await io::file::open("/data/ballast",
                                                   {.mode = io::op::access::write, .create = true});
            co_await ballast.allocate(0, 96 << 10);
            co_await ballast.close();
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                int stored = 0;
                std::string failure;
                for (; failure.empty(); ++stored) {
                    try {
                        co_await to.append(batch_of(stored, 1, 3000));
                    } catch (const error& e) {
                        CHECK(e.is_errno(ENOSPC));
                        failure = e.what();
                        --stored;
                    }
                }
                CHECK(stored > 15);
                CHECK(!to.stopped());
                CHECK((co_await failure_of(to.append(batch_of(0, 1, 3000)))).is_errno(ENOSPC));
                CHECK(co_await read_all(to, 0) == numbers(0, stored));
                co_await io::unlink("/data/ballast");
                CHECK((co_await to.append(batch_of(stored, 1, 3000))).base_offset == stored);
                CHECK(co_await read_all(to, 0) == numbers(0, stored + 1));
            });
            co_await with_log("/data/t-0", small_options(), [](log& to) -> future<> {
                CHECK(co_await read_all(to, 0) == numbers(0, to.end_offset()));
            });
        });
    }
}

}  // namespace weir::broker
