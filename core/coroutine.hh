// SPDX-License-Identifier: Apache-2.0
#pragma once

#if defined(__GNUC__) && !defined(__clang__)
// g++ 12 destroys temporaries of a co_await expression twice; tests/compiler shows it.
#error "weir's coroutines need clang 17 or later: set CXX=clang++-19"
#endif

#include <concepts>
#include <coroutine>

#include <weir/core/future.hh>

namespace weir {

namespace detail {

template <typename T>
class coroutine_promise;

/// At the end of a coroutine: frees the frame, then goes on with whoever waited for it, here if
/// that is a coroutine of the same group and the depth allows, else through the run queue.
struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    void await_resume() const noexcept {}
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
        task* waiter = ended.promise().take_waiter();
        ended.destroy();
        if (waiter == nullptr) {
            return std::noop_coroutine();
        }
        shard& here = this_shard();
        void* parent = waiter->coroutine_address();
        if (parent != nullptr && here.may_run_inline(waiter->context())) {
            here.count_inline();
            here.set_context(waiter->context());
            return std::coroutine_handle<>::from_address(parent);
        }
        here.make_ready(*waiter);
        return std::noop_coroutine();
    }
};

template <typename T>
class coroutine_promise_base : public task {
  public:
    // The frame comes from the shard's pool. It is freed there too: frames never change shards.
    static void* operator new(std::size_t bytes) { return this_shard().pool().allocate(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept {
        this_shard().pool().deallocate(memory, bytes);
    }

    future<T> get_return_object() noexcept { return _result.get_future(); }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    final_awaiter final_suspend() const noexcept { return {}; }
    task* take_waiter() noexcept { return _result.take_waiter(); }

  protected:
    /// Nobody waits for what was ignored, so no call does either.
    void begin_anew_if_ignored() noexcept {
        if (_result.ignored() && context().call_depth != 0) [[unlikely]] {
            set_context({context().group});
            this_shard().set_context(context());
        }
    }
    // A frame begins with the address of its function, in every compiler that has coroutines.
    void fail_in(const void* frame) noexcept {
        _result.settle_failure(std::current_exception(),
                               origin(*static_cast<const void* const*>(frame)));
    }

    promise<T> _result;
    ~coroutine_promise_base() = default;
};

template <typename T>
class coroutine_promise final : public coroutine_promise_base<T> {
  public:
    template <typename U = T>
    void return_value(U&& value) {
        this->_result.settle(std::forward<U>(value));
    }
    void unhandled_exception() noexcept { this->fail_in(handle().address()); }
    void run() noexcept override {
        this->begin_anew_if_ignored();
        handle().resume();
    }
    void* coroutine_address() noexcept override { return handle().address(); }

  private:
    auto handle() noexcept { return std::coroutine_handle<coroutine_promise>::from_promise(*this); }
};

template <>
class coroutine_promise<void> final : public coroutine_promise_base<void> {
  public:
    void return_void() { _result.settle(); }
    void unhandled_exception() noexcept { fail_in(handle().address()); }
    void run() noexcept override {
        this->begin_anew_if_ignored();
        handle().resume();
    }
    void* coroutine_address() noexcept override { return handle().address(); }

  private:
    std::coroutine_handle<coroutine_promise> handle() noexcept {
        return std::coroutine_handle<coroutine_promise>::from_promise(*this);
    }
};

template <typename T>
struct future_awaiter {
    future<T>& awaited;

    // A value that is there is taken at once, unless others should run first.
    bool await_ready() const noexcept { return awaited.available() && !need_preempt(); }
    template <std::derived_from<task> Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        if (awaited.available()) {
            this_shard().make_ready(waiting.promise());
        } else {
            awaited.set_waiter(waiting.promise());
        }
    }
    T await_resume() { return awaited.take(); }
};

struct yield_awaiter {
    bool await_ready() const noexcept { return false; }
    template <std::derived_from<task> Promise>
    void await_suspend(std::coroutine_handle<Promise> waiting) noexcept {
        this_shard().make_ready(waiting.promise());
    }
    void await_resume() const noexcept {}
};

struct maybe_yield_awaiter : yield_awaiter {
    bool await_ready() const noexcept { return !need_preempt(); }
};

}  // namespace detail

/// co_await consumes a future: the value, or its failure as an exception.
template <typename T>
detail::future_awaiter<T> operator co_await(future<T>&& awaited) noexcept {
    return {awaited};
}

/// co_await yield(): lets every other ready task of the group run first.
inline detail::yield_awaiter yield() noexcept {
    return {};
}
/// co_await maybe_yield(): yields if need_preempt() says so. For long loops.
inline detail::maybe_yield_awaiter maybe_yield() noexcept {
    return {};
}

}  // namespace weir

template <typename T, typename... Args>
struct std::coroutine_traits<weir::future<T>, Args...> {
    using promise_type = weir::detail::coroutine_promise<T>;
};
