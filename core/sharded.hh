// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <tuple>
#include <typeinfo>
#include <utility>
#include <vector>

#include <weir/core/call.hh>
#include <weir/core/host.hh>
#include <weir/core/when.hh>

namespace weir {

namespace detail {

/// Begins at depth 0 wherever it is called; see begins_anew.
template <typename Fn>
struct anew {
    Fn fn;
    auto operator()() {
        const begins_anew guard;
        return fn();
    }
};

}  // namespace detail

/// Calls a copy of `fn` on every shard, at the same time, and waits for all. What `fn` starts there
/// may live on: it begins at depth 0.
/// fn       returns nothing or future<>
/// fails    when all have ended, as the lowest shard that failed
template <typename Fn>
future<> on_all(Fn fn) {
    const unsigned shards = this_host().shard_count();
    const shard_id here = this_shard().id();
    std::vector<future<>> calls(shards);
    co_await await_all(calls, [&] {
        for (unsigned step = 1; step <= shards; ++step) {
            const shard_id to = (here + step) % shards;  // our own last: the others work meanwhile
            calls[to] = on(to, detail::anew<Fn>{fn});
        }
    });
}

/// One T per shard. Each is built, used and destroyed on its own shard.
/// thread   start, stop and the map family: any one shard at a time; local(): every shard
template <typename T>
class sharded {
  public:
    sharded() = default;
    sharded(const sharded&) = delete;
    sharded& operator=(const sharded&) = delete;
    ~sharded() {
        if (started()) [[unlikely]] {
            destroyed_too_soon("a sharded", typeid(T));
        }
    }

    /// Builds T(args...) on every shard, from a copy of the arguments each.
    /// fails    as the lowest shard whose T threw, with no T left anywhere: those that were built
    ///          are stopped as by stop(), whose failures are dropped
    template <typename... Args>
    future<> start(Args... args) {
        WEIR_ASSERT(_instances.empty());
        _instances.resize(this_host().shard_count());
        future<> built = on_all([this, kept = std::make_tuple(std::move(args)...)] {
            own().built =
                std::apply([](const auto&... each) { return std::make_unique<T>(each...); }, kept);
        });
        co_await settled(built);
        if (built.failed()) {
            while (started()) {
                future<> stopped = futurize([this] { return stop(); });
                co_await settled(stopped);
                std::move(stopped).ignore();
                co_await maybe_yield();
            }
        }
        built.take();
    }

    /// Calls T::stop(), if there is one, on every shard; when all of them have ended, however, each
    /// T is destroyed where it was built. Until then every shard has its own, which the others may
    /// call. Does nothing if nothing was started. Once at a time.
    /// fails    as the lowest shard whose stop() failed, with no T left; with std::bad_alloc or
    ///          errc::overloaded if it didn't reach a shard: started() still, it may be asked again
    future<> stop() {
        co_await on_built([this] { return stop_own(); });
        co_await on_built([this] { own().built.reset(); });
        detail::first_failure failure;
        for (instance& each : _instances) {
            failure.look_at(std::move(each.failure));
        }
        _instances.clear();
        failure.rethrow();
    }

    /// This shard's.
    T& local() noexcept {
        WEIR_ASSERT(this_shard().id() < _instances.size() && own().built);
        return *own().built;
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
        std::vector<future<R>> calls(_instances.size());
        co_await await_all(calls, [&] {
            for (shard_id to = 0; to < calls.size(); ++to) {
                calls[to] = invoke_on(to, fn);
            }
        });
        co_return co_await when_all_succeed(std::move(calls));
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
    struct instance {
        std::unique_ptr<T> built;
        bool stopping = false;
        std::exception_ptr failure;  // of its stop()
    };

    instance& own() noexcept { return _instances[this_shard().id()]; }

    // Calls `step`, which doesn't fail, on each shard that has a T, again until there is memory
    // for the calls: what lives on a shard can end nowhere else.
    template <typename Step>
    future<> on_built(Step step) {
        std::vector<future<>> calls(_instances.size());
        for (bool reached = false; !reached;) {
            try {
                co_await await_all(calls, [&] {
                    for (shard_id to = 0; to < calls.size(); ++to) {
                        calls[to] = _instances[to].built ? on(to, step) : make_ready_future();
                    }
                });
                reached = true;
            } catch (const std::bad_alloc&) {
            }
            co_await maybe_yield();
        }
    }

    future<> stop_own() {
        instance& ending = own();
        if constexpr (requires { ending.built->stop(); }) {
            if (!std::exchange(ending.stopping, true)) {
                auto stopped = futurize([&ending] { return ending.built->stop(); });
                co_await settled(stopped);
                if (stopped.failed()) {
                    ending.failure = stopped.take_failure();
                }
            }
        }
        co_return;
    }

    std::vector<instance> _instances;  // by shard, which alone touches its own
};

}  // namespace weir
