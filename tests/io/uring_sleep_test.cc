// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <deque>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <io/uring_bed.hh>

#include <weir/core/time.hh>

namespace weir::io {

namespace {

using conformance::run;
using conformance::waiter;

/// Two shards hand a number to and fro; each sleeps until it is its turn.
void hand_to_and_fro(const uring_options& options, int rounds) {
    thread_pool pool;
    const auto cycles = cycle_counter::monotonic();
    std::unique_ptr<uring> rings[] = {make_uring(options, pool, cycles),
                                      make_uring(options, pool, cycles)};
    std::atomic<int> ball = 0;
    std::atomic<int> ended = 0;
    const auto play = [&](int me) {
        uring& own = *rings[me];
        for (;;) {
            // Acquire and release: pair with each other in the peer's turn.
            const int seen = ball.load(std::memory_order_acquire);
            if (seen == rounds) {
                break;
            }
            if (seen % 2 == me) {
                ball.store(seen + 1, std::memory_order_release);
                own.wake(*rings[1 - me]);
                own.submit();
            } else {
                own.park(never);
            }
            own.poll();
        }
        ++ended;
        // A message may be on its way to the peer: its ring stays until both have ended.
        while (ended < 2) {
            own.submit();
            own.park(own.now() + std::chrono::milliseconds(1));
            own.poll();
        }
        own.stop();
    };
    std::thread peer(play, 1);
    play(0);
    peer.join();
    const auto& counted = rings[0]->statistics();
    CHECK((options.ring_messages ? counted.wakes_by_event : counted.wakes_by_ring) == 0);
}

}  // namespace

TEST_SUITE("io/uring sleep") {
    TEST_CASE("no wake-up is lost between two shards that sleep") {
        auto options = uring_bed::small_buffers();
        SUBCASE("by messages between rings") {
            hand_to_and_fro(options, 4'000);
        }
        SUBCASE("by eventfd") {
            options.ring_messages = false;
            hand_to_and_fro(options, 4'000);
        }
        SUBCASE("by messages between rings without deferred task work") {
            options.defer_taskrun = false;
            hand_to_and_fro(options, 4'000);
        }
    }

    TEST_CASE("who comes while another's wake-up is only prepared wakes the shard himself") {
        thread_pool pool;
        const auto cycles = cycle_counter::monotonic();
        auto waker = make_uring(uring_bed::small_buffers(), pool, cycles);
        auto sleeper = make_uring(uring_bed::small_buffers(), pool, cycles);
        auto third = make_uring(uring_bed::small_buffers(), pool, cycles);
        waker->poll();  // binds it to this thread
        third->poll();
        std::atomic<bool> awake = false;
        std::thread sleeping([&] {
            const instant patience_ends = sleeper->now() + std::chrono::seconds(20);
            sleeper->park(patience_ends);
            awake = sleeper->now() < patience_ends;
            sleeper->stop();
        });
        // Whether the other thread is parked can't be seen: both orders must end its sleep.
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        waker->wake(*sleeper);  // and submits nothing before the end
        SUBCASE("a thread without a shard") {
            sleeper->interrupt();
        }
        SUBCASE("another shard") {
            third->wake(*sleeper);
            third->submit();
        }
        sleeping.join();
        CHECK(awake);
        waker->submit();
        waker->stop();
        third->stop();
    }

    TEST_CASE("shards that wait for no file don't count as blocked by I/O") {
        constexpr int shards = 64;
        const auto blocked = [] {
            std::ifstream file("/proc/stat");
            std::string name;
            int count = 0;
            while (file >> name && name != "procs_blocked") {
            }
            file >> count;
            return count;
        };
        thread_pool pool;
        const auto cycles = cycle_counter::monotonic();
        auto options = uring_bed::small_buffers();
        options.entries = 8;
        std::vector<std::unique_ptr<uring>> rings;
        for (int i = 0; i < shards; ++i) {
            rings.push_back(make_uring(options, pool, cycles));
        }
        if (rings[0]->description().find("no idle waits") != std::string::npos) {
            MESSAGE("skip idle waits: this kernel counts them as I/O");
            return;
        }
        const int before = blocked();
        std::atomic<int> parking = 0;
        std::atomic<bool> done = false;
        std::vector<std::thread> threads;
        for (auto& ring : rings) {
            threads.emplace_back([&parking, &done, &own = *ring] {
                ++parking;
                while (!done) {
                    own.park(own.now() + std::chrono::seconds(10));
                    own.poll();
                }
                own.stop();
            });
        }
        int least = shards;
        while (parking < shards) {
            std::this_thread::yield();
        }
        for (int look = 0; look < 20; ++look) {
            least = std::min(least, blocked() - before);
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        done = true;
        for (auto& ring : rings) {
            ring->interrupt();
        }
        for (auto& thread : threads) {
            thread.join();
        }
        CHECK(least < shards / 2);
    }

    TEST_CASE("an interrupt before park ends the next park") {
        uring_bed bed;
        CHECK(run(bed, op::nop{}) == 0);
        bed.ring->interrupt();
        bed.ring->interrupt();
        // Would never return otherwise.
        bed.ring->park(never);
        bed.ring->interrupt();
        bed.ring->poll();
        bed.ring->park(never);
        // It ends one park, not two: this one lasts until its time.
        const instant until = bed.ring->now() + std::chrono::milliseconds(2);
        bed.ring->park(until);
        CHECK(bed.ring->now() >= until);
    }

    TEST_CASE("a foreign thread's interrupt ends a park, again and again") {
        uring_bed bed;
        std::atomic<int> asked = 0, answered = 0;
        std::thread foreign([&] {
            for (int i = 1; i <= 2'000; ++i) {
                // Release: pairs with the acquire load after park.
                asked.store(i, std::memory_order_release);
                bed.ring->interrupt();
                while (answered.load(std::memory_order_relaxed) < i) {
                    std::this_thread::yield();
                }
            }
        });
        while (answered.load(std::memory_order_relaxed) < 2'000) {
            bed.ring->park(never);
            bed.ring->poll();
            answered.store(asked.load(std::memory_order_acquire), std::memory_order_relaxed);
        }
        foreign.join();
    }

    TEST_CASE("a turn without work makes no system call") {
        uring_bed bed;
        CHECK(run(bed, op::nop{}) == 0);
        bed.ring->submit();
        const auto before = bed.statistics().enters;
        for (int i = 0; i < 100; ++i) {
            bed.ring->poll();
            bed.ring->submit();
        }
        CHECK(bed.statistics().enters == before);
    }

    TEST_CASE("all operations of a turn enter the kernel together") {
        uring_bed bed;
        CHECK(run(bed, op::nop{}) == 0);
        const auto before = bed.statistics().enters;
        waiter a{op::nop{}}, b{op::nop{}}, c{op::nop{}};
        for (auto* each : {&a, &b, &c}) {
            bed.ring->start(*each);
        }
        bed.ring->submit();
        CHECK(bed.statistics().enters == before + 1);
        CHECK(bed.ring->has_completions());
        CHECK(bed.ring->poll() == 3);
        CHECK((a.done && b.done && c.done));
        // What is complete is no reason to sleep.
        waiter d{op::nop{}};
        bed.ring->start(d);
        bed.ring->submit();
        bed.ring->park(never);
        bed.ring->poll();
        CHECK(d.done);
    }

    TEST_CASE("a burst of operations on files doesn't wait for the end of the turn") {
        uring_bed bed;
        CHECK(run(bed, op::nop{}) == 0);
        const auto before = bed.statistics().enters;
        std::deque<waiter> burst;
        for (int i = 0; i < 16; ++i) {
            bed.ring->start(burst.emplace_back(op::nop{}));
        }
        // By fours up to 32 operations under way.
        CHECK(bed.statistics().enters == before + 4);
        bed.ring->submit();
        CHECK(bed.ring->poll() == burst.size());
    }

    TEST_CASE("a completion shows in the word that need_preempt reads") {
        uring_bed bed;
        const auto pair = conformance::connect_pair(bed);
        char byte;
        waiter receiving{op::receive_into{pair.server, &byte, 1}};
        bed.ring->start(receiving);
        bed.ring->submit();
        bed.ring->poll();
        const auto& word = *bed.ring->completions_word();
        const auto mask = bed.ring->completions_mask();
        CHECK((word.load() & mask) == 0);
        REQUIRE(send(pair.client, "x", 1, 0) == 1);
        CHECK((word.load() & mask) != 0);
        bed.ring->submit();
        bed.ring->poll();
        CHECK(receiving.done);
        CHECK((word.load() & mask) == 0);
        CHECK(run(bed, op::close{pair.client}) == 0);
        CHECK(run(bed, op::close{pair.server}) == 0);
    }

    TEST_CASE("a task yields after its quota, and to a bell only after the minimum slice") {
        auto options = uring_bed::small_buffers();
        options.quota = std::chrono::hours(1);
        options.minimum_slice = std::chrono::hours(1);
        SUBCASE("neither is over") {
            uring_bed bed(options);
            bed.ring->begin_slice();
            CHECK(!bed.ring->preempt(false));
            CHECK(!bed.ring->preempt(true));
        }
        SUBCASE("the minimum slice is over") {
            options.minimum_slice = duration::zero();
            uring_bed bed(options);
            bed.ring->begin_slice();
            CHECK(!bed.ring->preempt(false));
            CHECK(bed.ring->preempt(true));
        }
        SUBCASE("the quota is used up") {
            options.quota = duration::zero();
            uring_bed bed(options);
            bed.ring->begin_slice();
            CHECK(bed.ring->preempt(false));
        }
    }

    TEST_CASE("the time stamp counter agrees with the clock") {
        const auto cycles = cycle_counter::calibrate();
        const auto from = cycles.now();
        const instant start = monotonic_now();
        while (monotonic_now() - start < std::chrono::milliseconds(2)) {
        }
        // It may have been measured for longer than two milliseconds, never for less.
        CHECK(cycles.now() - from >= cycles.ticks(std::chrono::microseconds(1'900)));
        CHECK(cycle_counter::monotonic().ticks(std::chrono::seconds(1)) == 1'000'000'000);
    }
}

}  // namespace weir::io
