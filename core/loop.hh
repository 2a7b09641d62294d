// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include <weir/core/semaphore.hh>
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
/// fails    when all have ended, as the first in order that failed
template <typename Range, typename Fn>
future<> parallel_for_each(Range range, Fn fn) {
    std::vector<future<>> waiting;
    detail::first_failure failure;
    for (auto&& element : range) {
        future<> each = futurize(fn, std::forward<decltype(element)>(element));
        if (each.available() && !each.failed()) {
            each.take();
        } else {
            waiting.push_back(std::move(each));
        }
        co_await maybe_yield();
    }
    for (future<>& each : waiting) {
        co_await settled(each);
        failure.look_at(each);
    }
    failure.rethrow();
}

/// Like parallel_for_each, with at most `max` calls under way.
/// fails    when all have ended, as the one that failed first
template <typename Range, typename Fn>
future<> max_concurrent_for_each(Range range, std::size_t max, Fn fn) {
    semaphore free(max);
    detail::first_failure failure;
    for (auto&& element : range) {
        semaphore_units unit = co_await free.acquire();
        future<> each = futurize(fn, std::forward<decltype(element)>(element));
        if (each.available()) {
            failure.look_at(each);
        } else {
            std::move(each)
                .then_wrapped(
                    [&failure, unit = std::move(unit)](future<> ended) { failure.look_at(ended); })
                .ignore();
        }
    }
    const semaphore_units all = co_await free.acquire(max);
    failure.rethrow();
}

}  // namespace weir
