// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/data_directory.hh>
#include <broker/storage/store.hh>

#include "bed.hh"

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
