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
    template <typename Fn>
    void spawn(Fn fn) {
        ++_running;
        make_ready_future()
            .then(std::move(fn))
            .then_wrapped([this](future<> child) { ended(std::move(child)); })
            .ignore();
    }
    /// What children pass to whatever they wait for. Requesting it ends the scope early.
    abort_source& aborts() noexcept { return _aborts; }
    std::size_t running() const noexcept { return _running; }

  private:
    template <typename Fn>
    friend auto with_scope(Fn fn) ->
        typename detail::futurized<std::invoke_result_t<Fn&, scope&>>::type;
    template <typename Fn>
    friend auto with_scope(abort_source& parent, Fn fn) ->
        typename detail::futurized<std::invoke_result_t<Fn&, scope&>>::type;

    scope() = default;
    ~scope() { WEIR_ASSERT(_running == 0); }

    template <typename R>
    future<R> join(future<R> body) {
        co_await settled(body);
        if (body.failed()) {
            fail(body.take_failure());
        }
        if (_running > 0) {
            co_await _all_ended.get_future();
        }
        if (_failure) {
            if (body.valid()) {
                std::move(body).ignore();
            }
            std::rethrow_exception(_failure);
        }
        co_return body.take();
    }
    void ended(future<> child) noexcept {
        if (child.failed()) {
            fail(child.take_failure());
        }
        if (--_running == 0 && _all_ended.open()) {
            _all_ended.set_value();
        }
    }
    void fail(std::exception_ptr failure) noexcept {
        if (!_failure) {
            _failure = failure;
            _aborts.request(std::move(failure));
        }
    }

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
auto with_scope(Fn fn) -> typename detail::futurized<std::invoke_result_t<Fn&, scope&>>::type {
    scope own;
    co_return co_await own.join(futurize(fn, own));
}
template <typename Fn>
auto with_scope(abort_source& parent, Fn fn) ->
    typename detail::futurized<std::invoke_result_t<Fn&, scope&>>::type {
    scope own;
    own._aborts.link(parent);
    co_return co_await own.join(futurize(fn, own));
}

}  // namespace weir
