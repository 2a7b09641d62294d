// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>
#include <utility>

#include <weir/core/abort.hh>
#include <weir/core/when.hh>

namespace weir {

/// Work that is begun together and ends together. See with_scope().
/// thread   one shard, for life
class scope {
  public:
    scope(const scope&) = delete;
    scope& operator=(const scope&) = delete;

    /// Starts `fn`, a child: it may run to its first wait here. The scope owns `fn` and does not
    /// end before it. A child may spawn others.
    /// fn       returns nothing or future<>; its failure aborts the scope
    /// fails    throws std::bad_alloc, and begins nothing
    template <typename Fn>
    void spawn(Fn fn) {
        run(std::move(fn)).ignore();
    }
    /// What children pass to whatever they wait for. Requesting it ends the scope early.
    abort_source& aborts() noexcept { return _aborts; }
    std::size_t running() const noexcept { return _running; }

  private:
    template <typename Fn>
    friend auto with_scope(Fn fn);
    template <typename Fn>
    friend auto with_scope(abort_source& parent, Fn fn);

    scope() = default;
    ~scope() { WEIR_ASSERT(_running == 0); }

    // Counts what has begun: what waits for its end is there before.
    template <typename Fn>
    future<> run(Fn fn) {
        ++_running;
        future<> child = [this, &fn] {
            const begins_anew anew(_calls_above);
            return futurize(fn);
        }();
        co_await settled(child);
        look_at(child);
        if (--_running == 0 && _all_ended.open()) {
            _all_ended.set_value();
        }
    }
    template <typename R>
    void look_at(future<R>& ended) noexcept {
        if (ended.failed()) {
            fail(ended.take_failure());
        }
    }
    void fail(std::exception_ptr failure) noexcept {
        if (!_failure) {
            _failure = failure;
            _aborts.request(std::move(failure));
        }
    }

    template <typename Fn>
    static auto run_body(abort_source* parent, Fn fn) ->
        typename detail::futurized<std::invoke_result_t<Fn&, scope&>>::type {
        scope own;
        if (parent != nullptr) {
            own._aborts.link(*parent);
        }
        auto body = futurize(fn, own);
        co_await settled(body);
        own.look_at(body);
        while (own._running > 0) {
            co_await own._all_ended.get_future();
        }
        co_return own.result(body);
    }
    template <typename R>
    R result(future<R>& body) {
        if (_failure) {
            std::rethrow_exception(_failure);
        }
        return body.take();
    }

    // Who waits for the children is who waits for the scope, whoever spawned them.
    const std::uint8_t _calls_above = this_shard().context().calls_above;
    std::size_t _running = 0;
    std::exception_ptr _failure;
    abort_source _aborts;
    promise<> _all_ended;
};

/// Calls `fn(scope&)` and ends as it does, after all that it spawned has ended. The first failure,
/// of `fn` or of a child, triggers the scope's abort source with itself as the reason, and is the
/// result.
/// parent   a source whose end is the scope's too
template <typename Fn>
auto with_scope(Fn fn) {
    return scope::run_body(nullptr, std::move(fn));
}
template <typename Fn>
auto with_scope(abort_source& parent, Fn fn) {
    return scope::run_body(&parent, std::move(fn));
}

}  // namespace weir
