// SPDX-License-Identifier: Apache-2.0
// What a fiber costs: to switch away and back through the run queue, to start, to wait.
#include <weir/core/fiber.hh>

#include <bench/bench_shard.hh>

using namespace weir;
using namespace weir::bench;

namespace {

// Each operation is two switches: to the shard's stack, and back after a trip through the queue.
future<> yield_alone(std::uint64_t count) {
    return async([count] {
        for (std::uint64_t i = 0; i < count; ++i) {
            yield_fiber();
        }
    });
}

future<> yield_in_turn(std::uint64_t count) {
    future<> other = yield_alone(count / 2);
    co_await yield_alone(count / 2);
    co_await std::move(other);
}

future<> start(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await async([] {});
    }
}

future<> get_from_coroutine(std::uint64_t count) {
    return async([count] {
        for (std::uint64_t i = 0; i < count; ++i) {
            []() -> future<> { co_await yield(); }().get();
        }
    });
}

}  // namespace

int main(int argc, char** argv) {
    report out("fiber", "Fibers on one shard");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    bench_shard shard;
    shard.measure_cycle(out, "fiber.probe.cycle");
    shard.measure(out, "fiber.yield.alone", yield_alone);
    shard.measure(out, "fiber.yield.in_turn", yield_in_turn);
    shard.measure(out, "fiber.start", start);
    shard.measure(out, "fiber.get.coroutine_that_yields", get_from_coroutine);
    out.note("A yield is two switches of stacks and one trip through the run queue.");
    return out.finish();
}
