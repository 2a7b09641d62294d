// SPDX-License-Identifier: Apache-2.0
#include <deque>
#include <memory>
#include <optional>
#include <random>

#include <tests/support/bare_host.hh>

#include <weir/core/semaphore.hh>

using namespace weir;

TEST_SUITE("core/semaphore") {
    TEST_CASE("who asks for more than there is waits, and nobody overtakes") {
        test::bare_shard shard;
        semaphore units(3);
        semaphore_units two = units.acquire(2).take();
        auto big = units.acquire(3);
        auto small = units.acquire(1);
        CHECK_FALSE(units.try_acquire(1));
        CHECK(units.waiting() == 2);
        CHECK_FALSE(small.available());
        two.give_back();
        REQUIRE(big.available());
        CHECK_FALSE(small.available());
        {
            auto taken = big.take();
        }
        CHECK(small.available());
        {
            auto taken = small.take();
        }
        CHECK(units.available() == 3);
    }

    TEST_CASE("a waiter that is aborted leaves the line and lets those behind it pass") {
        test::bare_shard shard;
        semaphore units(2);
        abort_source source;
        auto one = units.acquire(1).take();
        auto big = units.acquire(2, source);
        auto small = units.acquire(1);
        source.request();
        CHECK_THROWS_AS(big.take(), error);
        CHECK(small.available());
        CHECK_THROWS_AS(units.acquire(1, source).take(), error);
    }

    TEST_CASE("units of a future that nobody takes go back") {
        test::bare_shard shard;
        semaphore units(1);
        {
            auto held = units.acquire().take();
            {
                auto dropped = units.acquire();
            }
            auto kept = units.acquire();
            held.give_back();
            CHECK(kept.available());
        }
        CHECK(units.available() == 1);
    }

    TEST_CASE("closing fails those who wait and those who come") {
        test::bare_shard shard;
        semaphore units(0);
        auto waiting = units.acquire();
        units.close();
        CHECK_THROWS_AS(waiting.take(), error);
        CHECK_THROWS_AS(units.acquire().take(), error);
        CHECK_FALSE(units.try_acquire(0));
    }

    TEST_CASE("units split and go back in parts") {
        test::bare_shard shard;
        semaphore units(5);
        auto all = units.try_acquire(5);
        auto part = all.split(2);
        all.give_back(1);
        CHECK(units.available() == 1);
        part = {};
        CHECK(all.count() == 2);
        all.give_back();
        CHECK(units.available() == 5);
    }

    TEST_CASE("with_semaphore holds its units until the work has ended") {
        test::bare_shard shard;
        semaphore units(1);
        promise<> work;
        auto first = with_semaphore(units, 1, [&work] { return work.get_future(); });
        auto second = with_semaphore(units, 1, [] { return 2; });
        CHECK_FALSE(second.available());
        work.set_value();
        shard.wait(std::move(first));
        CHECK(shard.wait(std::move(second)) == 2);
    }

    TEST_CASE("random takes, returns, aborts and drops agree with a list that is served in order") {
        test::bare_shard shard;
        const unsigned seed = 20261122;
        CAPTURE(seed);
        std::mt19937 random(seed);
        constexpr std::size_t total = 7;
        semaphore units(total);
        struct request {
            std::size_t count;
            std::unique_ptr<abort_source> source = std::make_unique<abort_source>();
            std::optional<future<semaphore_units>> waiting;
            bool granted = false;  // by the model
        };
        std::deque<request> line;  // in order of arrival; the granted are taken out by return
        std::size_t free = total;
        auto serve = [&] {
            for (request& each : line) {
                if (!each.granted) {
                    if (each.count > free) {
                        return;
                    }
                    free -= each.count;
                    each.granted = true;
                }
            }
        };
        for (int step = 0; step < 20000; ++step) {
            const std::size_t which = line.empty() ? 0 : random() % line.size();
            if (line.empty() || random() % 2 == 0) {
                request added{.count = 1 + random() % total};
                added.waiting = units.acquire(added.count, *added.source);
                line.push_back(std::move(added));
                serve();
            } else {
                request ended = std::move(line[which]);
                line.erase(line.begin() + static_cast<std::ptrdiff_t>(which));
                free += ended.granted ? ended.count : 0;
                if (!ended.granted && random() % 2 == 0) {
                    ended.source->request();
                    CHECK(ended.waiting->failed());
                    std::move(*ended.waiting).ignore();
                }
                ended.waiting.reset();
                // Only a return or an abort serves the line; a dropped one is skipped then.
                units.release(0);
                serve();
            }
            REQUIRE(units.available() == free);
            for (request& each : line) {
                REQUIRE(each.waiting->available() == each.granted);
            }
        }
    }
}
