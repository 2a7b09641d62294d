// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include <bench/harness.hh>
#include <x86intrin.h>

#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::bench {

/// A poller without a kernel, with the preemption of a real one: a slice by the time stamp counter.
class bench_poller final : public poller {
  public:
    instant now() noexcept override { return instant(duration(now_ns())); }
    wall_clock_ms wall_now() noexcept override { return 0; }
    unsigned poll() override { return 0; }
    void submit() override {}
    void park(instant) override {}
    void wake(poller&) override {}
    void interrupt() noexcept override {}
    void begin_slice() noexcept override { _slice_end = __rdtsc() + slice_ticks; }
    bool preempt(bool) noexcept override { return __rdtsc() >= _slice_end; }
    const std::atomic<std::uint32_t>* completions_word() const noexcept override { return &_word; }
    std::uint32_t completions_mask() const noexcept override { return 1; }
    void run_blocking(blocking_work& work) noexcept override {
        work.run();
        work.complete();
    }
    std::uint64_t random() noexcept override { return _random = _random * 6364136223846793005 + 1; }

  private:
    static constexpr std::uint64_t slice_ticks = 1'000'000;  // some hundreds of microseconds
    std::uint64_t _slice_end = 0;
    std::atomic<std::uint32_t> _word{0};
    std::uint64_t _random = 1;
};

/// A host of one shard in this thread, and a way to time what runs on it.
class bench_shard {
  public:
    bench_shard() : _scope((_host.add_shard(0, _outside), _host.connect(), &_host.at(0))) {}

    /// Turns until `work` has ended.
    void finish(future<> work) {
        while (!work.available()) {
            this_shard().turn();
        }
        work.take();
    }

    /// Adds a row: nanoseconds and blocks for each of the operations that `work(count)` does.
    void measure(report& out, const std::string& name,
                 const std::function<future<>(std::uint64_t)>& work) {
        if (!out.wanted(name)) {
            return;
        }
        row& figure = out.add(name, "ns", better::lower);
        out.alternate([&] {
            constexpr std::uint64_t batch = 10'000;
            const auto until = now_ns() + static_cast<std::int64_t>(out.seconds() * 1e9);
            const std::uint64_t blocks = this_shard().pool().counters().allocations;
            const auto started = now_ns();
            std::uint64_t done = 0;
            std::int64_t ended = started;
            do {
                finish(work(batch));
                done += batch;
                ended = now_ns();
            } while (ended < until);
            const auto operations = static_cast<double>(done);
            figure.ours(static_cast<double>(ended - started) / operations);
            figure.allocs_per_op =
                static_cast<double>(this_shard().pool().counters().allocations - blocks) /
                operations;
        });
    }

    /// Adds a row for one dependent addition: a cycle, if this thread has its CPU for itself. Where
    /// others want it too, all figures are longer by the same factor.
    void measure_cycle(report& out, const std::string& name) {
        measure(out, name, [](std::uint64_t count) {
            std::uint64_t sum = 0;
            for (std::uint64_t i = 0; i < count; ++i) {
                asm volatile("add $1, %0" : "+r"(sum));
            }
            return make_ready_future();
        });
    }

  private:
    bench_poller _outside;
    host _host{host_options{}};
    shard_scope _scope;
};

/// Keeps the compiler from leaving out how `value` came to be.
template <typename T>
void keep(T&& value) noexcept {
    asm volatile("" : : "g"(&value) : "memory");
}

}  // namespace weir::bench
