// SPDX-License-Identifier: Apache-2.0
#pragma once

// The second half of future.hh, which includes it: what then() and its kin do.
#include <weir/core/future.hh>

namespace weir::detail {

/// A callable that waits for `future<T>`, and owns it and the callable until the future that it
/// returned is settled. `fn` takes the settled future and returns a future<R>.
template <typename T, typename Fn, typename R>
class continuation final : public task, public pooled {
  public:
    continuation(future<T>&& source, Fn&& fn) : _source(std::move(source)), _fn(std::move(fn)) {}

    future<R> result() noexcept { return _result.get_future(); }

    /// Waits for the source, or runs in a later task if it is there already.
    void start() noexcept {
        if (_source.available()) {
            this_shard().make_ready(*this);
        } else {
            _source.set_waiter(*this);
        }
    }
    /// Calls now, the source being there. Returns what came of it and lives on if that waits.
    future<R> call_now() noexcept {
        future<R> inner = _fn(std::move(_source));
        if (inner.available()) {
            delete this;
            return inner;
        }
        future<R> outer = result();
        await(std::move(inner));
        return outer;
    }

    void run() noexcept override {
        if (!_called) {
            future<R> inner = _fn(std::move(_source));
            if (!inner.available()) {
                await(std::move(inner));
                return;
            }
            _result.set_from(std::move(inner));
        } else {
            _result.set_from(std::move(_inner));
        }
        delete this;
    }

  private:
    void await(future<R>&& inner) noexcept {
        _called = true;
        _inner = std::move(inner);
        _inner.set_waiter(*this);
    }

    future<T> _source;
    future<R> _inner;
    promise<R> _result;
    bool _called = false;
    [[no_unique_address]] Fn _fn;
};

/// Runs `step` on the settled future: here if it is settled and the depth allows, else later.
template <typename R, bool ReturnsFuture, typename T, typename Step>
future<R> continue_with(future<T>&& source, Step&& step) {
    using call = continuation<T, Step, R>;
    if (source.available() && this_shard().begin_inline()) {
        struct leave {
            ~leave() { this_shard().end_inline(); }
        } on_return;
        if constexpr (!ReturnsFuture || std::is_empty_v<Step>) {
            return step(std::move(source));
        } else {
            return (new call(std::move(source), std::forward<Step>(step)))->call_now();
        }
    }
    auto* waiting = new call(std::move(source), std::forward<Step>(step));
    future<R> result = waiting->result();
    waiting->start();
    return result;
}

template <typename T, typename Fn>
struct value_step {
    using returned = typename result_of<Fn&, T>::type;
    using R = typename futurized<returned>::value;
    [[no_unique_address]] Fn fn;

    future<R> operator()(future<T>&& source) noexcept {
        if (source.failed()) [[unlikely]] {
            return std::move(source).template pass_failure<R>();
        }
        if constexpr (std::is_void_v<T>) {
            source.take();
            return futurize(fn);
        } else {
            return futurize(fn, source.take());
        }
    }
};

template <typename T, typename Fn>
struct wrapped_step {
    using returned = std::invoke_result_t<Fn&, future<T>>;
    using R = typename futurized<returned>::value;
    [[no_unique_address]] Fn fn;

    future<R> operator()(future<T>&& source) noexcept { return futurize(fn, std::move(source)); }
};

}  // namespace weir::detail

namespace weir {

template <typename T>
template <typename Fn>
auto future<T>::then(Fn fn) && ->
    typename detail::futurized<typename detail::result_of<Fn&, T>::type>::type {
    using step = detail::value_step<T, Fn>;
    return detail::continue_with<typename step::R,
                                 detail::is_future<typename step::returned>::value>(
        std::move(*this), step{std::move(fn)});
}

template <typename T>
template <typename Fn>
auto future<T>::then_wrapped(Fn fn) && ->
    typename detail::futurized<std::invoke_result_t<Fn&, future>>::type {
    using step = detail::wrapped_step<T, Fn>;
    return detail::continue_with<typename step::R,
                                 detail::is_future<typename step::returned>::value>(
        std::move(*this), step{std::move(fn)});
}

template <typename T>
template <typename Fn>
future<T> future<T>::handle_failure(Fn fn) && {
    return std::move(*this).then_wrapped([fn = std::move(fn)](future settled) mutable -> future {
        return settled.failed() ? futurize(fn, settled.take_failure()) : std::move(settled);
    });
}

template <typename T>
template <typename Fn>
future<T> future<T>::finally(Fn fn) && {
    return std::move(*this).then_wrapped([fn = std::move(fn)](future settled) mutable -> future {
        return futurize(fn).then_wrapped(
            [settled = std::move(settled)](auto cleaned) mutable -> future {
                if (cleaned.failed()) {
                    std::move(settled).ignore();
                    return failed_with(cleaned.take_failure());
                }
                std::move(cleaned).ignore();
                return std::move(settled);
            });
    });
}

}  // namespace weir
