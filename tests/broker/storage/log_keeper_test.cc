// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/store.hh>

#include "stores.hh"
#include <weir/core/await_all.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;
using namespace std::chrono_literals;
using io::sim::fault;
namespace memory = io::sim::memory;

namespace {

store_options keeping(unsigned attempts_max) {
    return {.log = small_options(),
            .reopen = {.attempts_max = attempts_max, .wait_min = 100ms, .wait_max = 800ms},
            .recent_bytes = 8 << 10,
            .max_partitions = 5};
}

io::sim::world_options failing(fault which, std::uint32_t parts_per_million) {
    io::sim::world_options options;
    options.faults[which] = parts_per_million;
    return options;
}

/// Reads, as a consumer does, again and again while the disk fails.
future<std::vector<std::uint64_t>> read_patiently(log& from) {
    for (;;) {
        try {
            co_return co_await read_all(from, 0);
        } catch (const error& e) {
            CHECK(!e.is(errc::corrupt));
        }
        co_await sleep_for(1ms);
    }
}

/// Appends one record after the other, each until it is acknowledged, through `stops` stops.
/// Reads everything while the log is stopped.
future<> append_through_stops(bed& on, log& to, std::uint64_t stops) {
    std::vector<std::uint64_t> acknowledged;
    std::uint64_t value = 0;
    while (to.metrics().reopens < stops || to.metrics().appends_failed < 3) {
        bool failed = false;
        try {
            const auto result = co_await to.append(batch_of(++value, 1, 700));
            // What failed may be in the log now, so there may be more than what was acknowledged.
            CHECK(result.base_offset >= static_cast<std::int64_t>(acknowledged.size()));
            acknowledged.push_back(value);
        } catch (const error& e) {
            failed = true;
            CHECK((e.is_errno(EIO) || e.is_errno(ENOSPC)));
        }
        if (failed) {
            const std::vector<std::uint64_t> there = co_await read_patiently(to);
            CHECK(std::includes(there.begin(), there.end(), acknowledged.begin(),
                                acknowledged.end()));
            co_await sleep_for(10ms);
        }
    }
    {
        const outside world;
        on.world.faults().stop();
    }
    for (bool served = false; !served; co_await sleep_for(10ms)) {
        served = !to.stopped();
    }
    acknowledged.push_back(++value);
    co_await to.append(batch_of(value, 1));
    const std::vector<std::uint64_t> there = co_await read_all(to, 0);
    CHECK(std::includes(there.begin(), there.end(), acknowledged.begin(), acknowledged.end()));
}

}  // namespace

TEST_SUITE("broker/storage/log_keeper") {
    TEST_CASE("a log that a failed write, sync or allocation stopped comes back by itself") {
        const std::pair<fault, std::uint32_t> harms[] = {
            {fault::write_error, 30'000}, {fault::sync_error, 300'000}, {fault::no_space, 50'000}};
        for (const auto& [which, often] : harms) {
            const std::uint64_t stops = which == fault::no_space ? 0 : 5;
            for (std::uint64_t seed = 1; seed <= 8; ++seed) {
                CAPTURE(seed);
                bed on(seed, failing(which, often));
                // Segments of few records: syncs come with zeros, rolls and seals.
                store_options options = keeping(1000);
                options.log.segment_bytes = 8 << 10;
                on.run([&]() -> future<> {
                    co_await io::make_directory("/data").then_wrapped(
                        [](future<> made) { std::move(made).ignore(); });
                    std::unique_ptr<store> opened;
                    log* to = nullptr;
                    while (to == nullptr) {
                        try {
                            if (!opened) {
                                opened = co_await open_store("/data", options);
                            }
                            to = co_await opened->create({"t", 0});
                        } catch (const error&) {
                            // A sync of a directory failed: that is told, and tried again.
                        }
                    }
                    co_await append_through_stops(on, *to, stops);
                    CHECK(opened->stopped_logs() == 0);
                    CHECK(opened->metrics().reopens >= stops);
                    CHECK(opened->metrics().appends_failed > 0);
                    co_await opened->close();
                });
                CHECK(on.world.faults().injected(which) > 0);
            }
        }
    }

    TEST_CASE("a log that is not tried again keeps no place from the others") {
        bed on(45, failing(fault::write_error, 1'000'000));
        on.world.faults().stop();
        on.run([&on]() -> future<> {
            co_await io::make_directory("/data");
            store_options options = keeping(0);
            options.open_logs_max = 1;
            auto opened = co_await open_store("/data", options);
            log* const first = co_await opened->create({"t", 0});
            log* const second = co_await opened->create({"t", 1});
            co_await first->append(batch_of(0, 1));
            on.world.faults().resume();
            CHECK((co_await failure_of(first->append(batch_of(1, 1)))).is_errno(EIO));
            {
                const outside world;
                on.world.faults().stop();
            }
            CHECK(first->stopped());
            bool taken = false;
            second->append(batch_of(0, 1))
                .then([&taken](append_result) { taken = true; })
                .then_wrapped([](future<> ended) { std::move(ended).ignore(); })
                .ignore();
            co_await sleep_for(10s);
            CHECK(taken);
            CHECK((co_await read_all(*first, 0)).at(0) == 0);
            co_await opened->close();
        });
    }

    TEST_CASE("tries are bounded and come ever later, and a log that none helped stays stopped") {
        bed on(41, failing(fault::sync_error, 1'000'000));
        on.world.faults().stop();
        on.run([&on]() -> future<> {
            co_await io::make_directory("/data");
            auto opened = co_await open_store("/data", keeping(5));
            log* to = co_await opened->create({"t", 0});
            co_await to->append(batch_of(0, 1));
            on.world.faults().resume();
            while (!to->stopped()) {
                try {
                    co_await to->append(batch_of(0, 1, 3000));
                } catch (const error& e) {
                    CHECK(e.is_errno(EIO));
                }
            }
            CHECK(opened->stopped_logs() == 1);
            // 100, 200, 400, 800 and 800 ms, and some for the tries themselves.
            co_await sleep_for(90ms);
            CHECK(to->metrics().reopens_failed == 0);
            co_await sleep_for(110ms);
            CHECK(to->metrics().reopens_failed == 1);
            co_await sleep_for(500ms);
            CHECK(to->metrics().reopens_failed == 2);
            co_await sleep_for(5s);
            CHECK(to->metrics().reopens_failed == 5);
            CHECK(to->metrics().reopens == 0);
            CHECK(to->stopped());
            CHECK((co_await failure_of(to->append(batch_of(0, 1)))).is_errno(EIO));
            CHECK((co_await to->read(0, 100)).how == read_result::outcome::ok);
            co_await opened->close();
        });
    }

    TEST_CASE("whichever allocation of a reopening fails, the log comes back") {
        whichever_allocation_fails(8, [](scarcity& scarce) {
            bed on(45, failing(fault::write_error, 1'000'000));
            on.run([&]() -> future<> {
                co_await io::make_directory("/data");
                store_options options = keeping(1000);
                options.reopen.attempts_max.reset();
                auto opened = co_await open_store("/data", options);
                log* to = co_await opened->create({"t", 0});
                co_await failure_of(to->append(batch_of(0, 1)));
                on.world.faults().stop();
                future<> later = sleep_for(5s);
                scarce.begin();
                co_await std::move(later);
                scarce.end();
                co_await sleep_for(5s);
                CHECK(opened->stopped_logs() == 0);
                co_await to->append(batch_of(0, 1));
                co_await opened->close();
            });
        });
    }

    TEST_CASE("a log that stops when there is no memory at all comes back once there is some") {
        bed on(47, failing(fault::write_error, 1'000'000));
        on.run([&]() -> future<> {
            co_await io::make_directory("/data");
            store_options options = keeping(1000);
            options.reopen.attempts_max.reset();
            auto opened = co_await open_store("/data", options);
            log* to = co_await opened->create({"t", 0});
            auto refused = to->append(batch_of(0, 1));
            future<> later = sleep_for(1s);
            memory::fail(0, UINT64_MAX);
            co_await settled(refused);
            CHECK(refused.failed());
            std::move(refused).ignore();
            co_await std::move(later);
            CHECK(memory::stop_failing() > 0);
            on.world.faults().stop();
            co_await sleep_for(60s);
            CHECK(opened->stopped_logs() == 0);
            co_await to->append(batch_of(0, 1));
            co_await opened->close();
        });
    }

    TEST_CASE("whichever allocation of a start fails, each log is served in the end") {
        whichever_allocation_fails(8, [](scarcity& scarce) {
            bed on(46);
            on.run([&]() -> future<> {
                co_await io::make_directory("/data");
                auto opened = co_await open_store("/data", keeping(1));
                for (int i = 0; i < 3; ++i) {
                    co_await (co_await opened->create({"t", i}))->append(batch_of(0, 1));
                }
                co_await opened->close();
                future<> later = sleep_for(5s);
                opened = co_await store::open("/data", keeping(1), {{"t", 0}, {"t", 1}, {"t", 2}});
                scarce.begin();
                co_await std::move(later);
                scarce.end();
                co_await opened->opened();
                CHECK(opened->partitions().size() == 3);
                co_await opened->close();
            });
        });
    }

    TEST_CASE("without tries a stopped log waits for a restart") {
        bed on(42, failing(fault::write_error, 1'000'000));
        on.run([&on]() -> future<> {
            co_await io::make_directory("/data");
            auto opened = co_await open_store("/data", keeping(0));
            log* to = co_await opened->create({"t", 0});
            co_await failure_of(to->append(batch_of(0, 1)));
            on.world.faults().stop();
            co_await sleep_for(10s);
            CHECK(opened->stopped_logs() == 1);
            co_await opened->close();
            opened = co_await open_store("/data", keeping(0));
            co_await opened->find({"t", 0})->append(batch_of(0, 1));
            co_await opened->close();
        });
    }

    TEST_CASE("a store that closes ends the waits of its stopped logs") {
        bed on(43, failing(fault::write_error, 1'000'000));
        on.run([]() -> future<> {
            co_await io::make_directory("/data");
            store_options options = keeping(100);
            options.reopen.wait_min = options.reopen.wait_max = 1h;
            auto opened = co_await open_store("/data", options);
            log* to = co_await opened->create({"t", 0});
            co_await failure_of(to->append(batch_of(0, 1)));
            const instant before = this_shard().now();
            co_await opened->close();
            CHECK(this_shard().now() - before < 1s);
        });
    }

    TEST_CASE("reopening refuses, and cuts nothing, when acknowledged records are damaged") {
        bed on(44);
        on.run([&on]() -> future<> {
            co_await io::make_directories("/data/t-0");
            const std::string path = "/data/t-0/00000000000000000000.log";
            co_await with_log("/data/t-0", small_options(), [&](log& to) -> future<> {
                for (int i = 0; i < 5; ++i) {
                    co_await to.append(batch_of(i, 1, 700));
                }
                const std::vector<std::byte> junk(100, std::byte{0x77});
                on.corrupt(path, 2500, junk);
                const auto before = on.host.disk().bytes(path);
                log_metrics metrics;
                log_options options = small_options();
                const error refused = co_await failure_of(
                    recover("/data/t-0", options, metrics, {.end = {.next_offset = 5}}));
                CHECK(refused.is(errc::corrupt));
                CHECK(std::string(refused.what()).find("acknowledged") != std::string::npos);
                CHECK(on.host.disk().bytes(path) == before);
            });
        });
    }
}

}  // namespace weir::broker
