// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/data_directory.hh>
#include <broker/storage/store.hh>
#include <io/uring_bed.hh>

#include "stores.hh"
#include <weir/io/run.hh>

namespace weir::broker {

using namespace storage_test;

namespace {

/// Runs `body` on this machine's io_uring and file system.
void run_on_kernel(const std::function<future<>()>& body) {
    io::run_options options;
    options.placement.shards = 1;
    options.handle_signals = false;
    REQUIRE(io::run(options, [&body](host&) { return body(); }) == 0);
}

}  // namespace

TEST_SUITE("broker/storage/kernel") {
    TEST_CASE("on the kernel's own files a log writes, rolls, closes and comes back") {
        const io::scratch_directory scratch;
        std::vector<int> order;
        run_on_kernel([&]() -> future<> {
            auto directory = co_await data_directory::open(scratch.path + "/data", 1);
            auto all = co_await open_store(directory.path(), {.log = small_options()});
            log* to = co_await all->create({"t", 0});
            std::vector<future<>> running;
            for (int i = 0; i < 300; ++i) {
                running.push_back(
                    to->append(batch_of(i, 1, 1000)).then([&order, i](append_result result) {
                        CHECK(result.base_offset == i);
                        order.push_back(i);
                    }));
                if (running.size() == 20) {
                    for (auto& each : running) {
                        co_await std::move(each);
                    }
                    running.clear();
                }
            }
            CHECK(co_await read_all(*to, 0) == numbers(0, 300));
            CHECK(to->segment_count() > 3);
            CHECK(to->metrics().commits < 200);
            co_await all->close();
            co_await directory.close();
        });
        CHECK(order.size() == 300);
        CHECK(std::is_sorted(order.begin(), order.end()));
        run_on_kernel([&]() -> future<> {
            co_await with_log(scratch.path + "/data/t-0", small_options(), [](log& in) -> future<> {
                CHECK(in.metrics().recovered_bytes == 0);
                CHECK(co_await read_all(in, 0) == numbers(0, 300));
                CHECK((co_await in.append(batch_of(300, 1))).base_offset == 300);
            });
        });
    }

    TEST_CASE("a second process's data directory is refused on the kernel too") {
        const io::scratch_directory scratch;
        run_on_kernel([&]() -> future<> {
            auto mine = co_await data_directory::open(scratch.path, 1);
            CHECK((co_await failure_of(data_directory::open(scratch.path, 1))).is_errno(EBUSY));
            co_await mine.close();
        });
    }
}

}  // namespace weir::broker
