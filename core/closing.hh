// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <type_traits>
#include <utility>

#include <weir/core/await_all.hh>

namespace weir {

namespace detail {

// What is closed: `x` itself, or what a pointer points to.
template <typename X>
auto& closed_of(X& x) noexcept {
    if constexpr (requires { *x; }) {
        return *x;
    } else {
        return x;
    }
}

/// Ends it: by stop(), which ends more, or else by close().
template <typename X>
auto end_of(X& x) {
    if constexpr (requires { x.stop(); }) {
        return x.stop();
    } else {
        return x.close();
    }
}

/// A failure that another one goes before: logs it.
void report_second(const std::exception_ptr& failure) noexcept;

template <typename X, typename Fn>
auto call_and_close(X kept, Fn fn) ->
    typename futurized<std::invoke_result_t<Fn&, decltype(closed_of(kept))>>::type {
    auto& own = closed_of(kept);
    auto result = futurize(fn, own);
    co_await settled(result);
    auto ended = futurize([&own] { return end_of(own); });
    co_await settled(ended);
    if (ended.failed() && result.failed()) {
        report_second(ended.take_failure());
    } else if (ended.failed()) {
        std::rethrow_exception(ended.take_failure());
    }
    co_return result.take();
}

}  // namespace detail

/// Calls `fn(x)`, and when the future that it returned is settled, however, ends `x` by x.stop(),
/// or x.close() if it has no stop(), and waits for that end. What must be closed before it is
/// destroyed is so, whatever happens:
///     co_await with_closing(co_await io::file::open(path, {}), [](io::file& from) { ... });
/// x        a variable, which is borrowed, or a value, which is kept until its end; of a pointer
///          that owns or not it is what it points to
/// fails    as `fn` does; as the end of `x` if `fn` did not. If both fail, that of `fn` is told,
///          and the other one logged
/// cost     one block from the pool
template <typename X, typename Fn>
auto with_closing(X&& x, Fn fn) {
    return detail::call_and_close<X, Fn>(std::forward<X>(x), std::move(fn));
}

}  // namespace weir
