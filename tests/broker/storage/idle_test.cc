// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/file_system.hh>

#include "stores.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;
using namespace std::chrono_literals;
namespace memory = io::sim::memory;

namespace {

constexpr int partitions = 20;

store_options resting() {
    store_options options{.log = small_options(), .recent_bytes = 0};
    options.log.idle_max = 2s;
    return options;
}

/// Appends to a partition until it takes it.
future<> append_at_last(log& to, std::int64_t offset) {
    for (int tries = 0; tries < 1000; ++tries) {
        try {
            const append_result taken = co_await to.append(batch_of(1, 1, 1000));
            CHECK(taken.base_offset == offset);
            co_return;
        } catch (const error& e) {
            CHECK(e.is_errno(EMFILE));
        }
        co_await sleep_for(100ms);
    }
    CHECK(false);
}

/// returns  whether it is there now
future<bool> made_directory(std::string path) {
    try {
        co_await io::make_directories(path);
    } catch (const error&) {
        co_return false;
    }
    co_return true;
}

/// Opens a log, then appends and rests for ever, whatever is refused.
future<> rest_and_append(std::string directory, std::int64_t& acknowledged) {
    recent_memory recent(0);
    std::unique_ptr<log> to;
    for (;;) {
        try {
            if (!to) {
                to = co_await log::open(directory, small_options(), recent);
            }
            if (to->stopped()) {
                co_await to->reopen();
            }
            const std::size_t bytes = this_shard().random() % 3000;
            acknowledged = (co_await to->append(batch_of(0, 1, bytes))).base_offset + 1;
        } catch (const error& e) {
            CHECK_FALSE(e.is(errc::corrupt));
        }
        if (to && to->can_rest() && this_shard().random() % 2 == 0) {
            co_await to->rest();
        }
    }
}

}  // namespace

TEST_SUITE("broker/storage/idle") {
    TEST_CASE("an idle log is sealed and closed: a kill costs the next start no walk") {
        bed on(111);
        bool rested = false;
        on.start([&rested]() -> future<> {
            co_await io::make_directories("/data");
            auto all = co_await open_store("/data", resting());
            for (int i = 0; i < partitions; ++i) {
                co_await (co_await all->create({"t", i}))->append(batch_of(1, 1, 1000));
            }
            CHECK(all->open_logs() == partitions);
            co_await sleep_for(4s);
            CHECK(all->open_logs() == 0);
            CHECK(all->metrics().rests == partitions);
            // Appends that come while it is sealed wait for it.
            log& busy = *all->find({"t", 0});
            for (std::int64_t offset = 1; offset < 20; ++offset) {
                CHECK((co_await busy.append(batch_of(1, 1, 1000))).base_offset == offset);
                if (busy.can_rest()) {
                    future<> resting_now = busy.rest();
                    CHECK((co_await busy.append(batch_of(1, 1, 1000))).base_offset == ++offset);
                    co_await std::move(resting_now);
                }
            }
            co_await sleep_for(4s);
            CHECK(all->open_logs() == 0);
            rested = true;
            co_await sleep_for(1000h);
        });
        REQUIRE(on.world.run_until([&] { return rested; }, 1h));
        on.world.kill(on.host);
        on.run([]() -> future<> {
            auto all = co_await open_store("/data", resting());
            CHECK(all->metrics().recovered_bytes == 0);
            CHECK(all->partitions().size() == partitions);
            CHECK((co_await all->find({"t", 1})->append(batch_of(1, 1))).base_offset == 1);
            co_await all->close();
        });
    }

    TEST_CASE("of too many open logs those that were idle longest are closed") {
        bed on(112);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            store_options options = resting();
            options.log.idle_max = 1h;
            options.open_logs_max = 5;
            auto all = co_await open_store("/data", options);
            for (int i = 0; i < partitions; ++i) {
                co_await (co_await all->create({"t", i}))->append(batch_of(1, 1, 1000));
            }
            co_await sleep_for(3s);
            CHECK(all->open_logs() == 5);
            CHECK(all->find({"t", partitions - 1})->active());
            CHECK_FALSE(all->find({"t", 0})->active());
            co_await all->close();
        });
    }

    TEST_CASE("without descriptors appends fail, and succeed when there are some; no log stops") {
        io::sim::world_options few;
        few.network.descriptors = 24;
        bed on(113, few);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            store_options options = resting();
            options.open_logs_max = 10;  // more than there are descriptors for
            auto all = co_await open_store("/data", options);
            std::vector<log*> logs;
            for (int i = 0; i < partitions; ++i) {
                logs.push_back(co_await all->create({"t", i}));
            }
            for (std::int64_t round = 0; round < 3; ++round) {
                std::vector<future<>> running;
                for (log* each : logs) {
                    running.push_back(append_at_last(*each, round));
                }
                for (auto& each : running) {
                    co_await std::move(each);
                }
            }
            CHECK(all->metrics().appends_failed > 0);
            CHECK(all->metrics().stops == 0);
            co_await all->close();
        });
    }

    TEST_CASE("a file system without O_DIRECT and fallocate is found out, and served") {
        for (int lacks = 0; lacks < 4; ++lacks) {
            io::sim::world_options plain;
            plain.disk.has_direct = (lacks & 1) == 0;
            plain.disk.has_allocate = (lacks & 2) == 0;
            bed on(114, plain);
            const auto session = [&](int before) {
                return [&plain, before]() -> future<> {
                    co_await io::make_directories("/data");
                    const auto has = co_await probe_file_system("/data");
                    CHECK((co_await io::list_directory("/data")).size() == (before > 0 ? 1 : 0));
                    CHECK(has.direct == plain.disk.has_direct);
                    CHECK(has.allocate == plain.disk.has_allocate);
                    log_options options = small_options();
                    options.direct = has.direct;
                    options.allocate = has.allocate;
                    options.unzeroed_commit_bytes = 4 << 10;
                    co_await with_log("/data/t-0", options, [before](log& to) -> future<> {
                        CHECK(to.end_offset() == before);
                        for (int i = 0; i < 30; ++i) {
                            co_await to.append(batch_of(i, 1, i % 2 == 0 ? 100 : 9000));
                        }
                        CHECK(co_await read_all(to, before) == numbers(0, 30));
                    });
                };
            };
            on.run(session(0));
            on.run(session(30));
            CHECK(on.lines.count >= static_cast<unsigned>(plain.disk.has_direct ? 0 : 2));
        }
    }

    TEST_CASE("a seal that failed leaves nothing that the next start takes for damage") {
        for (std::uint64_t seed = 1; seed <= 60; ++seed) {
            CAPTURE(seed);
            io::sim::world_options scarce;
            scarce.faults[io::sim::fault::no_memory] = 100'000;
            bed on(seed, scarce);
            std::int64_t acknowledged = 0;
            on.start([&acknowledged]() -> future<> {
                while (!co_await made_directory("/data/t-0")) {
                }
                co_await rest_and_append("/data/t-0", acknowledged);
            });
            on.world.run_until([&] { return acknowledged > 40; }, 1h);
            on.world.run_for(duration(on.world.random().below(2'000'000)));
            on.world.power_cut(on.host);
            on.world.faults().stop();
            on.run([&acknowledged]() -> future<> {
                co_await with_log("/data/t-0", small_options(), [&](log& to) -> future<> {
                    CHECK(to.end_offset() >= acknowledged);
                    co_await to.append(batch_of(0, 1));
                });
            });
        }
    }

    TEST_CASE("what is appended while a log rests is written, also if the log closes meanwhile") {
        bed on(115);
        on.run([]() -> future<> {
            co_await io::make_directories("/data/t-0");
            recent_memory recent(0);
            auto opened = co_await log::open("/data/t-0", small_options(), recent);
            co_await opened->append(batch_of(0, 1));
            future<> resting_now = opened->rest();
            future<append_result> appended = opened->append(batch_of(1, 1));
            co_await opened->close();
            CHECK((co_await std::move(appended)).base_offset == 1);
            co_await std::move(resting_now);
        });
    }

    TEST_CASE("more logs than may be open take appends in turn, and those that are busy are left") {
        bed on(117);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            store_options options{.log = small_options(), .open_logs_max = 3, .read_files_max = 2};
            auto all = co_await open_store("/data", options);
            constexpr int logs = 20;
            for (int i = 0; i < logs; ++i) {
                co_await all->create({"t", i});
            }
            std::size_t most_open = 0;
            for (std::uint64_t round = 0; round < 3; ++round) {
                std::vector<future<append_result>> appends;
                for (int i = 0; i < logs; ++i) {
                    appends.push_back(all->find({"t", i})->append(batch_of(round, 1)));
                }
                for (auto& each : appends) {
                    CHECK((co_await std::move(each)).base_offset ==
                          static_cast<std::int64_t>(round));
                    most_open = std::max(most_open, all->open_logs());
                }
            }
            CHECK(most_open == 3);
            for (int i = 0; i < logs; ++i) {
                CHECK(co_await read_all(*all->find({"t", i}), 0) == numbers(0, 3));
            }
            co_await all->close();
        });
    }

    TEST_CASE("whichever allocation of a rest fails, the log takes what comes next") {
        const auto rest_without = [](scarcity& scarce, bool with_failing_syncs) {
            io::sim::world_options options;
            options.faults[io::sim::fault::sync_error] = with_failing_syncs ? 1'000'000 : 0;
            bed on(116, options);
            on.world.faults().stop();
            on.run([&]() -> future<> {
                co_await with_log("/data/t-0", small_options(), [&](log& to) -> future<> {
                    co_await to.append(batch_of(0, 1));
                    on.world.faults().resume();
                    scarce.begin();
                    try {
                        co_await to.rest();
                    } catch (const std::bad_alloc&) {
                        // It is as open as before.
                    }
                    scarce.end();
                    on.world.faults().stop();
                    CHECK((co_await to.append(batch_of(1, 1))).base_offset == 1);
                });
            });
        };
        whichever_allocation_fails(6, [&](scarcity& scarce) { rest_without(scarce, false); });
        whichever_allocation_fails(6, [&](scarcity& scarce) { rest_without(scarce, true); });
    }
}

}  // namespace weir::broker
