// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/core/when.hh>

// Loops over functions that return futures, or not. All own what they are given and let others
// run when need_preempt() says so.
namespace weir {

enum class stop_iteration : bool { no, yes };

/// Calls `fn` until it returns stop_iteration::yes.
template <typename Fn>
future<> repeat(Fn fn) {
    while (co_await futurize(fn) == stop_iteration::no) {
    }
}

/// Calls `fn` until `stop()`, which is asked before each call.
template <typename Stop, typename Fn>
future<> do_until(Stop stop, Fn fn) {
    while (!stop()) {
        co_await futurize(fn);
    }
}

/// Calls `fn` until it fails.
template <typename Fn>
future<> keep_doing(Fn fn) {
    for (;;) {
        co_await futurize(fn);
    }
}

/// Calls `fn` with each element of `range` at once and waits for all. To lend a range, pass a
/// span or a view.
/// fails    when all have ended, as the first in order that failed; a range that throws, or memory
///          that there is not, begins no more, and comes after those that were begun
template <typename Range, typename Fn>
future<> parallel_for_each(Range range, Fn fn) {
    std::vector<future<>> waiting;
    std::exception_ptr thrown;
    try {
        for (auto&& element : range) {
            future<>& each = waiting.emplace_back();
            each = futurize(fn, std::forward<decltype(element)>(element));
            if (each.available() && !each.failed()) {
                waiting.pop_back();
            }
            co_await maybe_yield();
        }
    } catch (...) {
        thrown = std::current_exception();
    }
    co_await await_all(waiting, std::move(thrown));
}

namespace detail {

/// The calls of max_concurrent_for_each that are under way.
class calls_under_way {
  public:
    /// Calls `fn`. What waits for its end is there before.
    template <typename Fn, typename Element>
    future<> call(Fn& fn, Element&& element) {
        ++_count;
        future<> each = futurize(fn, std::forward<Element>(element));
        co_await settled(each);
        _failure.look_at(each);
        --_count;
        if (_one_ended.open()) {
            _one_ended.set_value();
        }
    }
    /// What begins no more: the range threw, or there is no memory.
    void stopped_by(std::exception_ptr thrown) noexcept { _failure.look_at(std::move(thrown)); }

    std::size_t count() const noexcept { return _count; }
    /// One wait at a time.
    future<> one_ended() noexcept { return _one_ended.get_future(); }
    void rethrow() const { _failure.rethrow(); }

  private:
    std::size_t _count = 0;
    promise<> _one_ended;
    first_failure _failure;
};

}  // namespace detail

/// Like parallel_for_each, with at most `max` calls under way.
/// fails    when all have ended, as what failed first: a call, the range, or memory; as an invalid
///          argument if `max` is 0
template <typename Range, typename Fn>
future<> max_concurrent_for_each(Range range, std::size_t max, Fn fn) {
    if (max == 0) {
        throw error("begin", "max_concurrent_for_each of 0 at once",
                    std::make_error_code(std::errc::invalid_argument));
    }
    detail::calls_under_way calls;
    try {
        for (auto&& element : range) {
            while (calls.count() == max) {
                co_await calls.one_ended();
            }
            calls.call(fn, std::forward<decltype(element)>(element)).ignore();
            co_await maybe_yield();
        }
    } catch (...) {
        calls.stopped_by(std::current_exception());
    }
    while (calls.count() > 0) {
        co_await calls.one_ended();
    }
    calls.rethrow();
}

}  // namespace weir
