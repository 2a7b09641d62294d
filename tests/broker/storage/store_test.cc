// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/data_directory.hh>
#include <broker/storage/store.hh>

#include "stores.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

store_options small_store() {
    return {.log = small_options(), .recent_bytes = 64 << 10, .max_partitions = 5};
}

}  // namespace

TEST_SUITE("broker/storage/store") {
    TEST_CASE("partitions come back, each to the shard that owns it") {
        bed on(21);
        on.run([]() -> future<> {
            auto directory = co_await data_directory::open("/data/broker", 1);
            auto first = co_await open_store(directory.path(), small_store());
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
            auto second = co_await store::open(directory.path(), small_store(), {{"a-1", 0}});
            co_await second->opened();
            CHECK(second->partitions() == std::vector{topic_partition{"a-1", 0}});
            CHECK(co_await read_all(*second->find({"a-1", 0}), 0) == numbers(7, 2));
            co_await second->close();
            co_await directory.close();
        });
    }

    TEST_CASE("a log that may not be looked at is neither damaged nor lost, and stops no other") {
        bed on(24);
        on.run([&on]() -> future<> {
            store_options options = small_store();
            options.recoveries_at_once = 1;
            co_await io::make_directories("/data");
            auto first = co_await open_store("/data", options);
            for (const char* topic : {"a", "b", "c"}) {
                log* made = co_await first->create({topic, 0});
                co_await made->append(batch_of(7, 2));
            }
            co_await first->close();
            on.forbid("/data/a-0");
            on.forbid("/data/c-0/00000000000000000000.log");
            auto second = co_await store::open("/data", options, {{"a", 0}, {"b", 0}, {"c", 0}});
            co_await sleep_for(std::chrono::seconds(1));
            CHECK(second->find({"b", 0}) != nullptr);
            CHECK(second->state({"a", 0}) == partition_state::opening);
            CHECK(second->state({"c", 0}) == partition_state::opening);
            CHECK(second->quarantined() == 0);
            on.forbid("/data/a-0", false);
            on.forbid("/data/c-0/00000000000000000000.log", false);
            co_await second->opened();
            CHECK(co_await read_all(*second->find({"a", 0}), 0) == numbers(7, 2));
            CHECK(co_await read_all(*second->find({"c", 0}), 0) == numbers(7, 2));
            co_await second->close();
        });
    }

    TEST_CASE("two who create a partition at once get one log") {
        bed on(22);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            auto all_here = co_await open_store("/data", small_store());
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
            auto few = co_await open_store("/data", small_store());
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
                auto opened = co_await open_store("/data", options);
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
                auto opened = co_await open_store("/data", options);
                took = this_shard().now() - before;
                CHECK(opened->metrics().recovered_bytes == 0);  // the marks cover all
                CHECK(opened->metrics().recovery_read_bytes > 0);
                CHECK(opened->metrics().recovery_read_bytes < 20 * (48 << 10));
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

    TEST_CASE("one log that is damaged is quarantined, and all others are served") {
        bed on(27);
        on.run([&on]() -> future<> {
            co_await io::make_directories("/data");
            auto first = co_await open_store("/data", small_store());
            for (int i = 0; i < 5; ++i) {
                co_await (co_await first->create({"t", i}))->append(batch_of(1, 1, 5000));
            }
            co_await first->close();
            const std::vector<std::byte> junk(100, std::byte{0x77});
            on.corrupt("/data/t-3/00000000000000000000.log", 10, junk);
            auto second = co_await open_store("/data", small_store());
            CHECK(second->partitions().size() == 4);
            CHECK(second->quarantined() == 1);
            CHECK(second->state({"t", 3}) == partition_state::quarantined);
            CHECK(second->find({"t", 3}) == nullptr);
            CHECK((co_await failure_of(second->create({"t", 3}))).is(errc::corrupt));
            for (int i = 0; i < 5; ++i) {
                if (i != 3) {
                    CHECK((co_await second->find({"t", i})->append(batch_of(2, 1))).base_offset ==
                          1);
                }
            }
            co_await second->close();
        });
    }

    // Acknowledges a record, loses the partition's directory and comes back.
    std::int64_t offset_after_loss(std::unordered_set<std::string> canaries) {
        bed on(28, {}, std::move(canaries));
        std::int64_t offset = -1;
        on.run([&offset]() -> future<> {
            co_await io::make_directories("/data");
            auto first = co_await open_store("/data", small_store());
            CHECK(
                (co_await (co_await first->create({"t", 0}))->append(batch_of(1, 1))).base_offset ==
                0);
            co_await first->close();
            for (const std::string& name : co_await io::list_directory("/data/t-0")) {
                co_await io::unlink("/data/t-0/" + name);
            }
            co_await io::rename("/data/t-0", "/data/gone");
            auto second = co_await store::open("/data", small_store(), {{"t", 0}});
            co_await second->opened();
            if (log* made_anew = second->find({"t", 0})) {
                offset = (co_await made_anew->append(batch_of(2, 1))).base_offset;
            } else {
                CHECK(second->state({"t", 0}) == partition_state::quarantined);
            }
            CHECK(second->quarantined() == (offset < 0 ? 1 : 0));
            co_await second->close();
        });
        return offset;
    }

    TEST_CASE("a directory that must be there and is lost is quarantined, and never made anew") {
        CHECK(offset_after_loss({}) == -1);
    }
    TEST_CASE("a lost directory that is made anew gives an offset twice: found within one seed") {
        CHECK(offset_after_loss({"lost-directory-made-anew"}) == 0);
    }

    TEST_CASE("logs are served as they become ready, first of all those that are asked for") {
        bed on(29);
        store_options options = small_store();
        options.max_partitions = 400;
        options.log.segment_bytes = 1 << 20;
        options.recoveries_at_once = 2;
        bool filled = false;
        on.start([options, &filled]() -> future<> {
            co_await io::make_directories("/data");
            auto opened = co_await open_store("/data", options);
            for (int i = 0; i < 200; ++i) {
                log* to = co_await opened->create({"t", i});
                for (int batch = 0; batch < 10; ++batch) {
                    co_await to->append(batch_of(1, 1, 9000));
                }
            }
            filled = true;
            co_await sleep_for(std::chrono::hours(10));
        });
        REQUIRE(on.world.run_until([&] { return filled; }, std::chrono::hours(1)));
        on.world.kill(on.host);
        on.run([options]() -> future<> {
            std::vector<topic_partition> all;
            for (int i = 0; i < 200; ++i) {
                all.push_back({"t", i});
            }
            auto opened = co_await store::open("/data", options, all);
            const topic_partition wanted{"t", 180};
            CHECK(opened->state(wanted) == partition_state::opening);
            const instant before = this_shard().now();
            while (opened->find(wanted) == nullptr) {
                co_await sleep_for(std::chrono::milliseconds(1));
            }
            const duration first = this_shard().now() - before;
            CHECK(opened->opening() > 100);
            co_await opened->opened();
            CHECK(this_shard().now() - before > 5 * first);
            CHECK(opened->opening() == 0);
            // Each log was read once, and nothing that was acknowledged is written again.
            CHECK(opened->metrics().recovered_bytes < 200 * 10 * 9200);
            co_await opened->close();
        });
        on.start([options]() -> future<> {
            std::vector<topic_partition> all;
            for (int i = 0; i < 200; ++i) {
                all.push_back({"t", i});
            }
            auto opened = co_await store::open("/data", options, all);
            co_await opened->close();  // at once: what is under way gives up
        });
        CHECK(on.world.run_until([&] { return !on.host.running(); }, std::chrono::seconds(1)));
        CHECK(on.host.failure() == "");
    }

    TEST_CASE("a cluster's id is made once and kept; a directory without one gets it") {
        bed on(30);
        on.run([]() -> future<> {
            const std::string meta = "/data/meta.properties";
            auto first = co_await data_directory::open("/data", 1);
            const uuid id = first.cluster();
            co_await first.close();
            auto second = co_await data_directory::open("/data", 1);
            CHECK(second.cluster() == id);
            co_await second.close();
            const std::string old = "version=1\nnode.id=1\n";
            const auto bytes = std::as_bytes(std::span(old));
            co_await replace_file(meta, {bytes.begin(), bytes.end()});
            auto third = co_await data_directory::open("/data", 1);
            CHECK(third.cluster() != id);
            const uuid given = third.cluster();
            co_await third.close();
            auto fourth = co_await data_directory::open("/data", 1);
            CHECK(fourth.cluster() == given);
            co_await fourth.close();
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
