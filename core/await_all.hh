// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>
#include <ranges>
#include <tuple>
#include <utility>

#include <weir/core/coroutine.hh>

// How one waits for work that others must not outlive: what it uses lies in the frame of whoever
// waits, so the wait goes on whatever throws, and needs no memory itself.
namespace weir {

namespace detail {

template <typename T>
struct settled_awaiter {
    future<T>& awaited;

    bool await_ready() const noexcept { return awaited.available(); }
    template <std::derived_from<task> Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        awaited.set_waiter(waiting.promise());
    }
    void await_resume() const noexcept {}
};

/// Keeps the first failure that it is shown, and lets the others go.
class first_failure {
  public:
    first_failure() noexcept = default;

    template <typename T>
    void look_at(future<T>& settled) noexcept {
        if (settled.failed()) {
            if (_failure) {
                std::move(settled).ignore();
            } else {
                _failure = settled.take_failure();
            }
        }
    }
    void look_at(std::exception_ptr thrown) noexcept {
        if (!_failure) {
            _failure = std::move(thrown);
        }
    }
    explicit operator bool() const noexcept { return _failure != nullptr; }
    void rethrow() const {
        if (_failure) {
            std::rethrow_exception(_failure);
        }
    }

  private:
    std::exception_ptr _failure;
};

template <typename Range>
concept futures = std::ranges::forward_range<Range> &&
                  is_future<std::remove_cvref_t<std::ranges::range_reference_t<Range>>>::value;

/// Waits for futures that lie elsewhere, one after the other; `Futures` is a range or a tuple of
/// references. A task of its own, so that it needs no frame of a coroutine.
template <typename Futures>
class waits_for_all : private task {
  public:
    explicit waits_for_all(Futures all) noexcept : _all(std::forward<Futures>(all)) {}

    bool await_ready() noexcept { return !wait_for_next(); }
    template <std::derived_from<task> Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        _waiting = &waiting.promise();
    }

  protected:
    ~waits_for_all() = default;
    void take_failures(first_failure& kept) noexcept {
        each([&kept](auto& settled) {
            kept.look_at(settled);
            return true;
        });
    }

  private:
    // Last, `_waiting` runs here, in this task's stead: this object may be gone then.
    void run() noexcept override {
        if (!wait_for_next()) {
            _waiting->run();
        }
    }
    /// returns  whether there was one that is not there yet
    bool wait_for_next() noexcept {
        return !each([this](auto& awaited) {
            if (!awaited.available()) {
                awaited.set_waiter(*this);
            }
            return awaited.available();
        });
    }
    /// Calls `fn` with each, as long as it returns true.
    template <typename Fn>
    bool each(Fn fn) noexcept {
        if constexpr (futures<Futures>) {
            for (auto& one : _all) {
                if (one.valid() && !fn(one)) {
                    return false;
                }
            }
            return true;
        } else {
            return std::apply([&fn](auto&... one) { return ((!one.valid() || fn(one)) && ...); },
                              _all);
        }
    }

    Futures _all;
    task* _waiting = nullptr;
};

template <typename Futures>
class all_settled final : public waits_for_all<Futures> {
  public:
    using waits_for_all<Futures>::waits_for_all;
    void await_resume() const noexcept {}
};

template <typename Futures>
class all_awaited final : public waits_for_all<Futures> {
  public:
    all_awaited(Futures all, std::exception_ptr thrown) noexcept
        : waits_for_all<Futures>(std::forward<Futures>(all)), _thrown(std::move(thrown)) {}

    void await_resume() {
        first_failure failure;
        this->take_failures(failure);
        failure.look_at(std::move(_thrown));
        failure.rethrow();
    }

  private:
    std::exception_ptr _thrown;
};

}  // namespace detail

/// co_await settled(f): waits until `f` is there, and leaves it to be consumed.
template <typename T>
detail::settled_awaiter<T> settled(future<T>& awaited) noexcept {
    return {awaited};
}
/// co_await settled(range): waits until all are there, however they ended, and leaves them to be
/// consumed. Those that were consumed already are passed over.
/// cost     no allocation
template <detail::futures Range>
detail::all_settled<Range&> settled(Range& all) noexcept {
    return detail::all_settled<Range&>(all);
}

/// co_await await_all(...): waits for all, however they end, and fails as the leftmost that failed;
/// the others' failures are dropped, values are left to be taken.
/// thrown   what kept the caller from beginning the rest, null if nothing did: comes last
/// fails    when all have ended
/// cost     no allocation: it waits when there is no memory, too
template <detail::futures Range>
detail::all_awaited<Range&> await_all(Range& all, std::exception_ptr thrown = nullptr) noexcept {
    return {all, std::move(thrown)};
}
template <typename... Ts>
    requires(sizeof...(Ts) > 0)
detail::all_awaited<std::tuple<future<Ts>&...>> await_all(future<Ts>&... all) noexcept {
    return {std::tie(all...), nullptr};
}
/// As above, after `begin()`, which begins them and may throw: co_await await_all(all, [&] { for
/// (...) { begin_in(all, ...); } }).
template <detail::futures Range, std::invocable Begin>
detail::all_awaited<Range&> await_all(Range& all, Begin&& begin) noexcept {
    try {
        std::forward<Begin>(begin)();
    } catch (...) {
        return {all, std::current_exception()};
    }
    return {all, nullptr};
}

/// Calls `fn`, whose future gets a place at the end of `all` before: nothing begins that nobody
/// waits for.
/// fails    throws std::bad_alloc, when `fn` was not called; whatever `fn` throws is in its future
template <typename Container, typename Fn>
typename Container::value_type& begin_in(Container& all, Fn&& fn) {
    auto& place = all.emplace_back();
    place = futurize(std::forward<Fn>(fn));
    return place;
}

}  // namespace weir
