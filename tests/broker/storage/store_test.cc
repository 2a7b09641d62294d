// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/data_directory.hh>
#include <broker/storage/store.hh>

#include "bed.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

store_options small_store() {
    return {.log = small_options(), .recent_bytes = 64 << 10, .max_partitions = 5};
}

bool all(const topic_partition&) {
    return true;
}

}  // namespace

TEST_SUITE("broker/storage/store") {
    TEST_CASE("partitions come back, each to the shard that owns it") {
        bed on(21);
        on.run([]() -> future<> {
            auto directory = co_await data_directory::open("/data/broker", 1);
            auto first = co_await store::open(directory.path(), small_store(), all);
            for (const char* topic : {"a", "a-1", "b.c"}) {
                log* made = co_await first->create({topic, 0});
                CHECK(made == co_await first->create({topic, 0}));
                co_await made->append(batch_of(7, 2));
            }
            co_await first->create({"empty", 3});
            CHECK(first->partitions().size() == 4);
            CHECK(first->find({"a", 1}) == nullptr);
            CHECK(first->metrics().appends == 3);
            co_await first->close();
            co_await directory.close();

            directory = co_await data_directory::open("/data/broker", 1);
            auto second =
                co_await store::open(directory.path(), small_store(),
                                     [](const auto& which) { return which.topic == "a-1"; });
            CHECK(second->partitions() == std::vector{topic_partition{"a-1", 0}});
            CHECK(co_await read_all(*second->find({"a-1", 0}), 0) == numbers(7, 2));
            co_await second->close();
            co_await directory.close();
        });
    }

    TEST_CASE("two who create a partition at once get one log") {
        bed on(22);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            auto all_here = co_await store::open("/data", small_store(), all);
            std::vector<future<log*>> asked;
            for (int i = 0; i < 10; ++i) {
                asked.push_back(all_here->create({"t", i % 2}));
            }
            for (int i = 0; i < 10; ++i) {
                log* made = co_await std::move(asked[i]);
                CHECK(made == all_here->find({"t", i % 2}));
            }
            co_await all_here->close();
        });
    }

    TEST_CASE("names that are no topic's and too many partitions are refused") {
        bed on(23);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            auto few = co_await store::open("/data", small_store(), all);
            CHECK((co_await failure_of(few->create({"../x", 0}))).is(errc::malformed));
            CHECK((co_await failure_of(few->create({"x", -1}))).is(errc::malformed));
            for (int i = 0; i < 5; ++i) {
                co_await few->create({"t", i});
            }
            CHECK((co_await failure_of(few->create({"t", 5}))).is(errc::limit_exceeded));
            co_await few->close();
        });
    }

    TEST_CASE("after a crash several logs are recovered at the same time, and all come back") {
        const auto recovery_time = [](std::size_t at_once) {
            bed on(26);
            on.start([]() -> future<> {
                co_await io::make_directories("/data");
                store_options options = small_store();
                options.max_partitions = 100;
                auto opened = co_await store::open("/data", options, all);
                for (int i = 0; i < 20; ++i) {
                    log* to = co_await opened->create({"t", i});
                    co_await to->append(batch_of(static_cast<std::uint64_t>(i) * 10, 3, 3000));
                }
                co_await sleep_for(std::chrono::hours(10));
            });
            on.world.run_for(std::chrono::minutes(1));
            on.world.power_cut(on.host);
            duration took{};
            on.run([&took, at_once]() -> future<> {
                store_options options = small_store();
                options.max_partitions = 100;
                options.recoveries_at_once = at_once;
                const instant before = this_shard().now();
                auto opened = co_await store::open("/data", options, all);
                took = this_shard().now() - before;
                CHECK(opened->metrics().recovered_bytes > 20 * 9000);
                CHECK(opened->partitions().size() == 20);
                for (int i = 0; i < 20; ++i) {
                    const auto there = co_await read_all(*opened->find({"t", i}), 0);
                    CHECK(there == numbers(static_cast<std::uint64_t>(i) * 10, 3));
                }
                co_await opened->close();
            });
            return took;
        };
        CHECK(recovery_time(5) * 3 < recovery_time(1));
    }

    TEST_CASE("one log that is damaged refuses the start, and all others are closed") {
        bed on(27);
        on.run([&on]() -> future<> {
            co_await io::make_directories("/data");
            auto first = co_await store::open("/data", small_store(), all);
            for (int i = 0; i < 5; ++i) {
                co_await (co_await first->create({"t", i}))->append(batch_of(1, 1, 5000));
            }
            co_await first->close();
            const std::vector<std::byte> junk(100, std::byte{0x77});
            on.corrupt("/data/t-3/00000000000000000000.log", 10, junk);
            const error refused = co_await failure_of(
                store::open("/data", small_store(), all).then([](std::unique_ptr<store>) {}));
            CHECK(refused.is(errc::corrupt));
            CHECK(std::string(refused.what()).find("t-3") != std::string::npos);
        });
    }

    TEST_CASE("a data directory has one owner") {
        bed on(24);
        on.run([]() -> future<> {
            auto mine = co_await data_directory::open("/data", 1);
            CHECK((co_await failure_of(data_directory::open("/data", 1))).is_errno(EBUSY));
            co_await mine.close();
            auto again = co_await data_directory::open("/data", 1);
            co_await again.close();
            const error other = co_await failure_of(data_directory::open("/data", 2));
            CHECK(other.is(errc::corrupt));
            CHECK(std::string(other.what()).find("node.id") != std::string::npos);
        });
    }

    TEST_CASE("a directory of another program is refused and left as it is") {
        bed on(25);
        on.run([]() -> future<> {
            co_await io::make_directories("/pictures/2024");
            const error refused = co_await failure_of(data_directory::open("/pictures", 1));
            CHECK(refused.is(errc::corrupt));
            CHECK((co_await io::list_directory("/pictures")).size() == 1);
        });
    }
}

}  // namespace weir::broker
