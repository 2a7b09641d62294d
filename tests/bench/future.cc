// SPDX-License-Identifier: Apache-2.0
// What waiting costs: futures, coroutines and continuations on one shard, without a kernel.
// Blocks are those taken from the shard's pool; after the warm-up none comes from the allocator.
#include <bench/bench_shard.hh>

using namespace weir;
using namespace weir::bench;

namespace {

[[gnu::noinline]] future<int> ready_coroutine(int value) {
    co_return value;
}

[[gnu::noinline]] future<int> nested(int depth) {
    if (depth == 0) {
        co_return 1;
    }
    co_return 1 + co_await nested(depth - 1);
}

[[gnu::noinline]] future<int> nested_waiting(int depth) {
    if (depth == 0) {
        co_await yield();
        co_return 1;
    }
    co_return 1 + co_await nested_waiting(depth - 1);
}

future<> await_ready(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await make_ready_future();
    }
}

future<> await_ready_coroutine(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        keep(co_await ready_coroutine(1));
    }
}

future<> yield_alone(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await yield();
    }
}

future<> await_after_yield(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        keep(co_await nested_waiting(0));
    }
}

future<> nested_ready_5(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        keep(co_await nested(5));
    }
}

future<> nested_waiting_5(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        keep(co_await nested_waiting(5));
    }
}

future<> then_ready(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        keep(make_ready_future<int>(1).then([](int v) { return v + 1; }).take());
    }
    return make_ready_future();
}

future<> then_ready_future(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        auto step = [](int v) { return make_ready_future<int>(v + 1); };
        keep(make_ready_future<int>(1).then(step).take());
    }
    return make_ready_future();
}

future<> promise_then(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        promise<int> source;
        auto next = source.get_future().then([](int v) { return v + 1; });
        source.set_value(1);
        keep(co_await std::move(next));
    }
}

future<> then_chain_5(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        promise<int> source;
        const auto step = [](int v) { return v + 1; };
        auto next = source.get_future().then(step).then(step).then(step).then(step).then(step);
        source.set_value(1);
        keep(co_await std::move(next));
    }
}

}  // namespace

int main(int argc, char** argv) {
    report out("future", "Futures and coroutines on one shard");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    bench_shard shard;
    shard.measure_cycle(out, "future.probe.cycle");
    shard.measure(out, "future.await.ready", await_ready);
    shard.measure(out, "future.await.ready_coroutine", await_ready_coroutine);
    shard.measure(out, "future.await.yield", yield_alone);
    shard.measure(out, "future.await.coroutine_that_yields", await_after_yield);
    shard.measure(out, "future.await.nested_5", nested_ready_5);
    shard.measure(out, "future.await.nested_5_that_yield", nested_waiting_5);
    shard.measure(out, "future.then.ready", then_ready);
    shard.measure(out, "future.then.ready_future", then_ready_future);
    shard.measure(out, "future.then.promise", promise_then);
    shard.measure(out, "future.then.chain_5", then_chain_5);
    return out.finish();
}
