// SPDX-License-Identifier: Apache-2.0
// How logs share the places of those that may be open to append to.
#include <broker/storage/log.hh>
#include <broker/storage/names.hh>

#include "stores.hh"
#include <weir/core/sleep.hh>

namespace weir::broker {

using namespace storage_test;
using namespace std::chrono_literals;

namespace {

constexpr int batches = 700;  // of the long log, all in one segment
constexpr std::size_t value_bytes = 4000;

store_options one_place() {
    store_options options{.log = small_options(), .open_logs_max = 1};
    options.log.segment_bytes = 4 << 20;
    options.log.zero_ahead_max_bytes = 1 << 20;
    options.log.walk_bytes_a_second = 1 << 20;
    options.log.idle_max = 1h;
    return options;
}

/// A long log, t-0, of which a start leaves nearly all to the mark, and an empty one, t-1.
void make_long_log(bed& on) {
    on.start([]() -> future<> {
        co_await io::make_directories("/data");
        auto opened = co_await open_store("/data", one_place());
        co_await opened->create({"t", 1});
        log* const to = co_await opened->create({"t", 0});
        for (int i = 0; i < batches; ++i) {
            co_await to->append(batch_of(i, 1, value_bytes));
        }
        co_await sleep_for(10h);
    });
    on.world.run_for(1min);
    on.world.kill(on.host);
}

/// How long it takes to be settled.
template <typename T>
future<duration> time_of(future<T> awaited) {
    const instant begin = this_shard().now();
    co_await std::move(awaited);
    co_return this_shard().now() - begin;
}

/// Appends to a log without a pause, several at a time, until `done` or for so long.
future<> flood(log& to, const bool& done, duration time_max) {
    const instant end = this_shard().now() + time_max;
    std::uint64_t sent = 0;
    while (!done && this_shard().now() < end) {
        std::vector<future<append_result>> several;
        for (int i = 0; i < 4; ++i) {
            several.push_back(to.append(batch_of(sent++, 1)));
        }
        // The next ones stand in line before these are there.
        std::vector<future<append_result>> more;
        for (auto& each : several) {
            more.push_back(to.append(batch_of(sent++, 1)));
            co_await std::move(each);
        }
        for (auto& each : more) {
            co_await std::move(each);
        }
    }
}

}  // namespace

TEST_SUITE("broker/storage/places") {
    TEST_CASE("a log that can't be walked gives its place back, and takes appends again") {
        bed on(141);
        make_long_log(on);
        on.run([]() -> future<> {
            const std::string path = segment_path("/data/t-0", 0, log_suffix);
            auto opened = co_await open_store("/data", one_place());
            log& unwalked = *opened->find({"t", 0});
            log& other = *opened->find({"t", 1});
            co_await unwalked.append(batch_of(batches, 1));
            co_await io::rename(path, "/data/away");
            CHECK(co_await time_of(other.append(batch_of(0, 1))) < 1s);
            CHECK(opened->open_logs() == 1);
            co_await io::rename("/data/away", path);
            co_await unwalked.append(batch_of(batches + 1, 1));
            CHECK(co_await read_all(unwalked, 0) == numbers(0, batches + 2));
            co_await opened->close();
            opened = co_await open_store("/data", one_place());
            CHECK(co_await read_all(*opened->find({"t", 0}), 0) == numbers(0, batches + 2));
            CHECK(co_await read_all(*opened->find({"t", 1}), 0) == numbers(0, 1));
            co_await opened->close();
        });
    }

    TEST_CASE("whoever needs a place, or what is being walked, doesn't wait for a paced walk") {
        for (const bool reads : {false, true}) {
            CAPTURE(reads);
            bed on(142);
            make_long_log(on);
            on.run([reads]() -> future<> {
                auto opened = co_await open_store("/data", one_place());
                co_await sleep_for(1200ms);  // the walk has begun
                CHECK(opened->metrics().walked_later_bytes == 0);
                log& walked = *opened->find({"t", 0});
                co_await walked.append(batch_of(batches, 1));
                if (reads) {
                    CHECK(co_await time_of(walked.read(0, 1000)) < 500ms);
                } else {
                    log& other = *opened->find({"t", 1});
                    CHECK(co_await time_of(other.append(batch_of(0, 1))) < 500ms);
                }
                CHECK(co_await read_all(walked, 0) == numbers(0, batches + 1));
                co_await opened->close();
            });
        }
    }

    TEST_CASE("a log that is always busy gives its place to one that waits, and waits its turn") {
        for (const duration syncs_every : {duration(100ms), duration(1us)}) {
            bed on(143);
            on.run([syncs_every]() -> future<> {
                co_await io::make_directories("/data");
                store_options options = one_place();
                options.log.mark_sync_wait_max = syncs_every;
                auto opened = co_await open_store("/data", options);
                log& busy = *co_await opened->create({"t", 0});
                log& other = *co_await opened->create({"t", 1});
                bool done = false;
                future<> flooding = flood(busy, done, 5s);
                co_await sleep_for(100ms);
                for (int i = 0; i < 3; ++i) {
                    CHECK(co_await time_of(other.append(batch_of(i, 1))) < 1s);
                }
                const std::int64_t before = busy.end_offset();
                co_await sleep_for(500ms);
                CHECK(busy.end_offset() > before);
                done = true;
                co_await std::move(flooding);
                const auto count = static_cast<std::uint64_t>(busy.end_offset());
                CHECK(co_await read_all(busy, 0) == numbers(0, count));
                co_await opened->close();
            });
        }
    }

    TEST_CASE("once waits for places are ended an append fails that needs one, and no log stops") {
        bed on(145);
        on.run([]() -> future<> {
            co_await io::make_directories("/data/t-0");
            recent_memory recent(0);
            open_places places(1);
            auto opened = co_await log::open("/data/t-0", small_options(), recent, nullptr, nullptr,
                                             nullptr, &places);
            abort_source never_ended;
            semaphore_units held = co_await places.take(never_ended);
            future<append_result> waiting = opened->append(batch_of(0, 1));
            co_await sleep_for(1s);
            CHECK(places.waiting() == 1);
            places.end_waits();
            CHECK((co_await failure_of(std::move(waiting))).is(errc::aborted));
            CHECK((co_await failure_of(opened->append(batch_of(0, 1)))).is(errc::aborted));
            CHECK(!opened->stopped());
            held = {};  // one that is free is taken
            CHECK((co_await opened->append(batch_of(0, 1))).base_offset == 0);
            co_await opened->close();
        });
    }

    TEST_CASE("logs that are all busy have their places in turn") {
        bed on(144);
        on.run([]() -> future<> {
            co_await io::make_directories("/data");
            store_options options = one_place();
            options.open_logs_max = 2;
            auto opened = co_await open_store("/data", options);
            const bool never_done = false;
            std::vector<future<>> floods;
            std::vector<log*> logs;
            for (int i = 0; i < 5; ++i) {
                logs.push_back(co_await opened->create({"t", i}));
                floods.push_back(flood(*logs.back(), never_done, 1s));
            }
            for (auto& each : floods) {
                co_await std::move(each);
            }
            std::int64_t least = INT64_MAX;
            std::int64_t most = 0;
            for (log* each : logs) {
                least = std::min(least, each->end_offset());
                most = std::max(most, each->end_offset());
            }
            CHECK(least * 3 > most);
            CHECK(opened->open_logs() <= 2);
            co_await opened->close();
        });
    }
}

}  // namespace weir::broker
