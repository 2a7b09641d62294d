// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <weir/core/call.hh>
#include <weir/core/host.hh>
#include <weir/core/when.hh>

namespace weir {

/// Calls a copy of `fn` on every shard, at the same time, and waits for all.
/// fn       returns nothing or future<>
/// fails    when all have ended, as the lowest shard that failed
template <typename Fn>
future<> on_all(Fn fn) {
    const unsigned shards = this_host().shard_count();
    const shard_id here = this_shard().id();
    std::vector<future<>> calls(shards);
    for (unsigned step = 1; step <= shards; ++step) {
        const shard_id to = (here + step) % shards;  // our own last: the others work meanwhile
        calls[to] = on(to, fn);
    }
    co_await when_all_succeed(std::move(calls));
}

/// One T per shard. Each is built, used and destroyed on its own shard.
/// thread   start, stop and the map family: any one shard at a time; local(): every shard
template <typename T>
class sharded {
  public:
    sharded() = default;
    sharded(const sharded&) = delete;
    sharded& operator=(const sharded&) = delete;
    ~sharded() { WEIR_ASSERT(_instances.empty()); }

    /// Builds T(args...) on every shard, from a copy of the arguments each.
    /// fails    as the lowest shard whose T threw, with no T left anywhere
    template <typename... Args>
    future<> start(Args... args) {
        WEIR_ASSERT(_instances.empty());
        _instances.resize(this_host().shard_count());
        std::exception_ptr failure;
        try {
            co_await on_all([this, kept = std::make_tuple(std::move(args)...)] {
                own() = std::apply([](const auto&... each) { return std::make_unique<T>(each...); },
                                   kept);
            });
        } catch (...) {
            failure = std::current_exception();
        }
        if (failure) {
            co_await on_all([this] { own().reset(); });
            _instances.clear();
            std::rethrow_exception(failure);
        }
    }

    /// Calls T::stop(), if there is one, on every shard, then destroys each T where it was built,
    /// however its stop() ended. Does nothing if nothing was started.
    future<> stop() {
        if (_instances.empty()) {
            co_return;
        }
        std::exception_ptr failure;
        try {
            co_await on_all([this] { return stop_own(); });
        } catch (...) {
            failure = std::current_exception();
        }
        _instances.clear();
        if (failure) {
            std::rethrow_exception(failure);
        }
    }

    /// This shard's.
    T& local() noexcept {
        WEIR_ASSERT(this_shard().id() < _instances.size() && own());
        return *own();
    }
    bool started() const noexcept { return !_instances.empty(); }

    /// Calls `fn(T&)` on shard `to`.
    template <typename Fn>
    auto invoke_on(shard_id to, Fn fn) {
        return on(to, [this, fn = std::move(fn)]() mutable { return fn(local()); });
    }
    /// Calls a copy of `fn(T&)` on every shard.
    template <typename Fn>
    future<> invoke_on_all(Fn fn) {
        return on_all([this, fn = std::move(fn)]() mutable { return fn(local()); });
    }
    /// Calls a copy of `fn(T&)` on every shard.
    /// returns  what they return, in the order of the shards
    template <typename Fn>
    auto map(Fn fn)
        -> future<std::vector<typename detail::futurized<std::invoke_result_t<Fn&, T&>>::value>> {
        using R = typename detail::futurized<std::invoke_result_t<Fn&, T&>>::value;
        std::vector<future<R>> calls;
        calls.reserve(_instances.size());
        for (shard_id to = 0; to < _instances.size(); ++to) {
            calls.push_back(invoke_on(to, fn));
        }
        return when_all_succeed(std::move(calls));
    }
    /// Folds what `fn(T&)` returns on every shard, in the order of the shards, here.
    template <typename Fn, typename Value, typename Reduce>
    future<Value> map_reduce(Fn fn, Value initial, Reduce reduce) {
        auto mapped = co_await map(std::move(fn));
        for (auto&& each : mapped) {
            initial = reduce(std::move(initial), std::move(each));
        }
        co_return initial;
    }

  private:
    std::unique_ptr<T>& own() noexcept { return _instances[this_shard().id()]; }

    future<> stop_own() {
        std::unique_ptr<T> ending = std::move(own());
        if constexpr (requires { ending->stop(); }) {
            co_await futurize([&ending] { return ending->stop(); });
        }
        co_return;
    }

    std::vector<std::unique_ptr<T>> _instances;  // by shard, which alone touches its own
};

}  // namespace weir
