// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstddef>
#include <deque>
#include <semaphore>
#include <thread>

#include <doctest/doctest.h>

#include <weir/io/thread_pool.hh>

namespace weir::io {

namespace {

struct side final : thread_pool::client {
    using client::client;
    ~side() { stop(); }
    void notify() noexcept override { notified.release(); }
    /// Completes `count` pieces of work, in the order in which they finished.
    void finish(std::size_t count);

    std::counting_semaphore<> notified{0};
};

struct piece final : blocking_work {
    void run() noexcept override {
        if (gate != nullptr) {
            gate->acquire();
        }
        order = counter->fetch_add(1);
    }
    void complete() noexcept override { completed = true; }
    std::counting_semaphore<>* gate = nullptr;
    std::atomic<int>* counter = nullptr;
    int order = -1;
    bool completed = false;
};

void side::finish(std::size_t count) {
    while (count > 0) {
        notified.acquire();
        for (auto* work = take_finished(); work != nullptr; --count) {
            auto* following = work->next;
            work->complete();
            work = following;
        }
    }
}

}  // namespace

TEST_SUITE("io/thread_pool") {
    TEST_CASE("one thread is there at once, others start when work waits, up to the limit") {
        thread_pool pool({.threads = 3});
        side own(pool);
        CHECK(pool.statistics().threads == 1);
        std::counting_semaphore<> gate{0};
        std::atomic<int> counter = 0;
        std::deque<piece> work(10);
        for (auto& each : work) {
            each.gate = &gate;
            each.counter = &counter;
            own.submit(each);
        }
        CHECK(pool.statistics().threads == 3);
        gate.release(10);
        own.finish(10);
        CHECK(counter == 10);
        CHECK(pool.statistics().taken == 10);
        CHECK(pool.statistics().waiting == 0);
        for (const auto& each : work) {
            CHECK(each.completed);
        }
        // Idle threads are used again.
        piece more;
        more.counter = &counter;
        own.submit(more);
        own.finish(1);
        CHECK(pool.statistics().threads == 3);
    }

    TEST_CASE("shards take turns, however much one of them asks for") {
        thread_pool pool({.threads = 1});
        side busy(pool), modest(pool);
        std::counting_semaphore<> gate{0};
        std::atomic<int> counter = 0;
        piece blocker;
        blocker.gate = &gate;
        blocker.counter = &counter;
        busy.submit(blocker);
        std::deque<piece> many(20);
        for (auto& each : many) {
            each.counter = &counter;
            busy.submit(each);
        }
        piece one;
        one.counter = &counter;
        modest.submit(one);
        gate.release();
        modest.finish(1);
        busy.finish(21);
        CHECK(one.order <= 3);
        for (std::size_t i = 1; i < many.size(); ++i) {
            CHECK(many[i - 1].order < many[i].order);
        }
    }

    TEST_CASE("stop waits for what runs and forgets what has not begun") {
        thread_pool pool({.threads = 1});
        std::counting_semaphore<> gate{0};
        std::atomic<int> counter = 0;
        piece running, waiting;
        {
            side own(pool);
            running.gate = &gate;
            running.counter = waiting.counter = &counter;
            own.submit(running);
            while (pool.statistics().taken == 0) {
                std::this_thread::yield();
            }
            own.submit(waiting);
            gate.release();
            own.stop();
        }
        CHECK(running.order == 0);
        CHECK(!running.completed);
        CHECK(pool.statistics().waiting == 0);
        CHECK(waiting.order <= 1);
    }
}

}  // namespace weir::io
