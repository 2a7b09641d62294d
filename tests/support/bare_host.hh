// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::test {

/// A poller with no kernel below: a clock that the test sets, and a condition to park on.
class bare_poller : public poller {
  public:
    instant now() noexcept override { return time; }
    wall_clock_ms wall_now() noexcept override { return time.time_since_epoch().count() / 1000000; }
    unsigned poll() override { return 0; }
    void submit() override {}
    void park(instant) override {
        std::unique_lock lock(_lock);
        _changed.wait(lock, [this] { return _interrupted; });
        _interrupted = false;
    }
    void wake(poller& peer) override { peer.interrupt(); }
    void interrupt() noexcept override {
        const std::lock_guard lock(_lock);
        _interrupted = true;
        _changed.notify_one();
    }
    void begin_slice() noexcept override {}
    bool preempt(bool rung) noexcept override { return rung || preempt_next; }
    const std::atomic<std::uint32_t>* completions_word() const noexcept override { return &_word; }
    std::uint32_t completions_mask() const noexcept override { return 0; }
    void run_blocking(blocking_work& work) noexcept override {
        work.run();
        work.complete();
    }
    std::uint64_t random() noexcept override { return _random = _random * 6364136223846793005 + 1; }

    instant time{};
    bool preempt_next = false;

  private:
    std::atomic<std::uint32_t> _word{0};
    std::uint64_t _random = 1;
    std::mutex _lock;
    std::condition_variable _changed;
    bool _interrupted = false;
};

/// A host of one shard, turned by the test, which is inside that shard. Fails the test if a
/// failed future goes unseen.
class bare_shard {
  public:
    bare_shard() : _scope((_host.add_shard(0, outside), _host.connect(), &_host.at(0))) {}
    ~bare_shard() { CHECK(this_shard().counters().failures_ignored == ignored_expected); }

    /// Turns until nothing is ready.
    void settle() {
        while (this_shard().turn() <= outside.time) {
        }
    }
    /// Moves the clock on and settles.
    void pass(duration time) {
        outside.time += time;
        settle();
    }
    /// Turns until `awaited` is there, then takes it.
    template <typename T>
    T wait(future<T> awaited) {
        while (!awaited.available()) {
            const instant next = this_shard().turn();
            REQUIRE((awaited.available() || next != never));
            if (!awaited.available()) {
                outside.time = std::max(outside.time, next);
            }
        }
        return awaited.take();
    }

    bare_poller outside;
    std::uint64_t ignored_expected = 0;

  private:
    host _host{host_options{}};
    shard_scope _scope;
};

/// Runs `main` on shard 0 of a host of real threads without a kernel ring, to its end.
inline void run_threads(unsigned shards, const std::function<future<>()>& main,
                        mesh_options mesh = {}) {
    host_options options;
    options.shards = shards;
    options.mesh = mesh;
    options.shard.spin_max = {};  // the clock stands still
    host owner(options);
    std::vector<bare_poller> pollers(shards);
    std::atomic<bool> stop = false;
    for (shard_id id = 0; id < shards; ++id) {
        owner.add_shard(id, pollers[id]);
    }
    owner.connect();
    std::vector<std::thread> threads;
    for (shard_id id = 0; id < shards; ++id) {
        threads.emplace_back([&, id] {
            shard& own = owner.at(id);
            const shard_scope scope(&own);
            future<> done = id == 0 ? futurize(main) : make_ready_future();
            while (!stop.load(std::memory_order_relaxed)) {
                const instant next = own.turn();
                if (id == 0 && done.available()) {
                    stop.store(true, std::memory_order_relaxed);
                    for (shard_id other = 1; other < shards; ++other) {
                        owner.at(other).bell().ring(bell::foreign);
                        pollers[other].interrupt();
                    }
                    break;
                }
                own.park(next);
            }
            if (id == 0) {
                done.take();
            }
        });
    }
    for (std::thread& each : threads) {
        each.join();
    }
    for (shard_id id = 0; id < shards; ++id) {
        CHECK(owner.at(id).counters().failures_ignored == 0);
    }
}

}  // namespace weir::test
