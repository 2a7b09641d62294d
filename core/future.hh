// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/core/origin.hh>
#include <weir/core/shard.hh>
#include <weir/core/task.hh>

namespace weir {

template <typename T = void>
class future;
template <typename T = void>
class promise;
template <typename T>
class hearing_promise;

namespace detail {

struct nothing {};
template <typename T>
using stored = std::conditional_t<std::is_void_v<T>, nothing, T>;

template <typename T>
struct is_future : std::false_type {};
template <typename T>
struct is_future<future<T>> : std::true_type {};

/// future<U> for callables that return U, void, or future<U>.
template <typename R>
struct futurized {
    using type = future<R>;
    using value = R;
};
template <typename U>
struct futurized<future<U>> {
    using type = future<U>;
    using value = U;
};

template <typename Fn, typename T>
struct result_of {
    using type = std::invoke_result_t<Fn, T>;
};
template <typename Fn>
struct result_of<Fn, void> {
    using type = std::invoke_result_t<Fn>;
};

/// Gives its memory to the shard's pool.
struct pooled {
    static void* operator new(std::size_t bytes) { return this_shard().pool().allocate(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept {
        this_shard().pool().deallocate(memory, bytes);
    }
};

// In fiber.cc, so that only who starts fibers includes fiber.hh.
/// The current fiber; that there is one is asserted.
task& running_fiber() noexcept;
void suspend_fiber() noexcept;

/// Suspends the current fiber until `awaited`, which is pending, is settled.
template <typename T>
void wait_in_fiber(future<T>& awaited) noexcept {
    awaited.set_waiter(running_fiber());
    suspend_fiber();
}

}  // namespace detail

/// The end of a promise<T> that is read: a value that is there, or will be, or a failure.
/// Move-only, for one shard. It is consumed once: by co_await, then(), get() or take().
/// A failed future that is destroyed unseen is counted, logged and fails tests.
/// thread   one shard, for life
/// cost     no allocation; a move patches the promise that points here
template <typename T>
class [[nodiscard]] future {
    enum class phase : std::uint8_t { empty, pending, value, failed };

  public:
    using value_type = T;
    using stored = detail::stored<T>;

    /// A future that is consumed already.
    future() noexcept : _promise(nullptr), _phase(phase::empty) {}
    future(future&& other) noexcept : _promise(nullptr), _phase(phase::empty) { take_over(other); }
    future& operator=(future&& other) noexcept {
        if (this != &other) {
            clear();
            take_over(other);
        }
        return *this;
    }
    ~future() { clear(); }

    /// A future that has its value.
    template <typename... Args>
    static future ready(Args&&... args) {
        future result;
        result.emplace(std::forward<Args>(args)...);
        return result;
    }
    /// A future that has failed.
    /// made     where, for the log line if nobody looks at it
    static future failed_with(
        std::exception_ptr failure,
        std::source_location made = std::source_location::current()) noexcept {
        future result;
        result.fail(std::move(failure), origin(made));
        return result;
    }

    /// Whether then(), co_await and get() would not wait.
    bool available() const noexcept { return _phase >= phase::value; }
    bool failed() const noexcept { return _phase == phase::failed; }
    /// Whether there is something to consume, now or later.
    bool valid() const noexcept { return _phase != phase::empty; }

    /// Consumes an available future: returns its value or throws its failure.
    T take() {
        if (_phase == phase::failed) [[unlikely]] {
            std::rethrow_exception(take_failure());
        }
        WEIR_ASSERT(_phase == phase::value);
        _phase = phase::empty;
        if constexpr (std::is_void_v<T>) {
            _promise = nullptr;
        } else {
            T result = std::move(_value);
            std::destroy_at(&_value);
            return result;
        }
    }
    /// Consumes a failed future.
    std::exception_ptr take_failure() noexcept {
        WEIR_ASSERT(_phase == phase::failed);
        std::exception_ptr failure = std::move(_failure);
        std::destroy_at(&_failure);
        _phase = phase::empty;
        return failure;
    }
    /// Consumes a failed future: one of another type that failed so, and there.
    template <typename U>
    future<U> pass_failure() && noexcept {
        future<U> result;
        const origin made = _made;
        result.fail(take_failure(), made);
        return result;
    }
    /// Where the failure of a failed future was made.
    origin made() const noexcept { return _made; }
    /// In a fiber: waits, then takes. Elsewhere the future must be available.
    T get() {
        if (!available()) {
            detail::wait_in_fiber(*this);
        }
        return take();
    }
    /// Says that neither the value nor a failure matters.
    void ignore() && noexcept {
        if (_phase == phase::failed) {
            take_failure();
        } else if (_phase == phase::pending) {
            _promise->_ignored = true;
            clear();
        }
    }

    /// Calls `fn` with the value when it is there; a failure passes by. `fn` returns a value,
    /// nothing, or a future, and lives until that future is settled.
    /// returns  the future of what `fn` returns
    /// cost     a ready future runs `fn` here, and allocates nothing if `fn` is empty or does not
    ///          return a future; otherwise one block from the pool
    template <typename Fn>
    auto then(Fn fn) && ->
        typename detail::futurized<typename detail::result_of<Fn&, T>::type>::type;
    /// As then(), but calls `fn` with this future, available, however it ended.
    template <typename Fn>
    auto then_wrapped(Fn fn) && ->
        typename detail::futurized<std::invoke_result_t<Fn&, future>>::type;
    /// Calls `fn(std::exception_ptr)` on failure; it returns what takes the value's place.
    template <typename Fn>
    future handle_failure(Fn fn) &&;
    /// Calls `fn()` however this future ends, and then ends so. If `fn` fails, that failure wins.
    template <typename Fn>
    future finally(Fn fn) &&;

    /// For awaiters and continuations: makes `waiter` ready when this future is settled.
    void set_waiter(task& waiter) noexcept {
        WEIR_ASSERT(_phase == phase::pending && _promise->_waiter == nullptr);
        check_shard(_promise->_shard, "a future");
        _promise->_waiter = &waiter;
    }
    /// Takes the waiter back.
    /// returns  false if there was none, or if it has been made ready already
    bool clear_waiter() noexcept {
        return _phase == phase::pending && std::exchange(_promise->_waiter, nullptr) != nullptr;
    }

  private:
    friend class promise<T>;
    template <typename U>
    friend class future;

    template <typename... Args>
    void emplace(Args&&... args) {
        std::construct_at(&_value, std::forward<Args>(args)...);
        _phase = phase::value;
    }
    void fail(std::exception_ptr failure, origin made) noexcept {
        std::construct_at(&_failure, std::move(failure));
        _phase = phase::failed;
        _made = made;
    }
    void take_over(future& other) noexcept {
        static_assert(std::is_nothrow_move_constructible_v<stored>);
        switch (other._phase) {
            case phase::empty:
                return;
            case phase::pending:
                _promise = other._promise;
                _promise->_future = this;
                break;
            case phase::value:
                std::construct_at(&_value, std::move(other._value));
                std::destroy_at(&other._value);
                break;
            case phase::failed:
                std::construct_at(&_failure, std::move(other._failure));
                std::destroy_at(&other._failure);
                _made = other._made;
                break;
        }
        _phase = std::exchange(other._phase, phase::empty);
    }
    void clear() noexcept {
        switch (std::exchange(_phase, phase::empty)) {
            case phase::empty:
                break;
            case phase::pending:
                _promise->_future = nullptr;
                if (_promise->_hears) [[unlikely]] {
                    tell_unwanted();
                }
                break;
            case phase::value:
                std::destroy_at(&_value);
                break;
            case phase::failed:
                report_unseen();
                break;
        }
    }
    // Apart, so that what is rare does not keep the rest from being inlined.
    [[gnu::cold, gnu::noinline]] void tell_unwanted() noexcept {
        if (on_a_shard()) {
            check_shard(_promise->_shard, "a future");
            static_cast<hearing_promise<T>*>(_promise)->unwanted();
        }
    }
    [[gnu::cold, gnu::noinline]] void report_unseen() noexcept {
        this_shard().report_ignored(_failure, _made);
        std::destroy_at(&_failure);
    }

    union {
        promise<T>* _promise;  // pending
        [[no_unique_address]] stored _value;
        std::exception_ptr _failure;
    };
    phase _phase;
    union {  // alone, so that nothing is written before there is a failure
        origin _made;
    };
};

/// The end of a future that is written, once. get_future() comes first. Settling it never runs
/// user code: it makes whoever waits ready.
/// thread   one shard, for life
template <typename T>
class promise {
  public:
    promise() noexcept = default;
    promise(promise&& other) noexcept
        : _future(std::exchange(other._future, nullptr)),
          _waiter(std::exchange(other._waiter, nullptr)),
          _shard(other._shard),
          _open(std::exchange(other._open, false)),
          _ignored(other._ignored) {
        WEIR_ASSERT(!other._hears);
        if (_future) {
            _future->_promise = this;
        }
    }
    promise& operator=(promise&& other) noexcept {
        if (this != &other) {
            std::destroy_at(this);
            std::construct_at(this, std::move(other));
        }
        return *this;
    }
    /// Breaks a promise that was not kept: the future fails with errc::broken_promise.
    ~promise() {
        if (_open && (_future || _waiter)) [[unlikely]] {
            break_off();
        }
    }

    /// A promise that was settled may be used again.
    future<T> get_future() noexcept {
        WEIR_ASSERT(!_open && !_future);
        _shard = detail::shard_id_here();
        _ignored = false;
        future<T> result;
        result._promise = this;
        result._phase = future<T>::phase::pending;
        _future = &result;
        _open = true;
        return result;
    }

    template <typename... Args>
    void set_value(Args&&... args) {
        settle(std::forward<Args>(args)...);
        wake();
    }
    /// made     where the failure was made, for the log line if nobody looks at it
    void set_failure(std::exception_ptr failure,
                     std::source_location made = std::source_location::current()) noexcept {
        settle_failure(std::move(failure), origin(made));
        wake();
    }
    /// Settles as `source`, which is available, is settled.
    void set_from(future<T>&& source) noexcept {
        if (source.failed()) {
            const origin made = source._made;
            settle_failure(source.take_failure(), made);
            wake();
        } else if constexpr (std::is_void_v<T>) {
            source.take();
            set_value();
        } else {
            set_value(source.take());
        }
    }
    /// Whether get_future() was called and nothing was set since.
    bool open() const noexcept { return _open; }
    /// Whether someone still holds the future.
    bool wanted() const noexcept { return _future != nullptr; }
    /// Whether its holder said that nothing of it matters.
    bool ignored() const noexcept { return _ignored; }

    // For coroutines, which settle first and hand over at their end.
    template <typename... Args>
    void settle(Args&&... args) {
        WEIR_ASSERT(_open);
        check_shard(_shard, "a promise");
        if (future<T>* target = _future) {
            target->emplace(std::forward<Args>(args)...);
            _future = nullptr;
        }
        _open = false;
    }
    void settle_failure(std::exception_ptr failure, origin made) noexcept {
        WEIR_ASSERT(_open);
        check_shard(_shard, "a promise");
        _open = false;
        if (future<T>* target = std::exchange(_future, nullptr)) {
            target->fail(std::move(failure), made);
        } else if (!_ignored) {
            this_shard().report_ignored(failure, made);
        }
    }
    task* take_waiter() noexcept { return std::exchange(_waiter, nullptr); }

  private:
    friend class future<T>;
    friend class hearing_promise<T>;

    [[gnu::cold, gnu::noinline]] void break_off() noexcept {
        // When all shards have ended, what is left goes wherever it lies.
        _shard = on_a_shard() ? _shard : detail::no_shard;
        set_failure(make_failure("wait", "promise", errc::broken_promise));
    }
    void wake() noexcept {
        if (task* waiter = take_waiter()) {
            this_shard().make_ready(*waiter);
        }
    }

    future<T>* _future = nullptr;
    task* _waiter = nullptr;
    shard_id _shard = detail::no_shard;  // of get_future()
    bool _open = false;
    bool _ignored = false;
    bool _hears = false;  // it is a hearing_promise
};

/// A promise that hears when its future goes before it is settled, or is ignored: then nobody wants
/// the value, and what was armed or lined up for it can go. It stays where it is.
template <typename T>
class hearing_promise : public promise<T> {
  public:
    hearing_promise() noexcept { this->_hears = true; }

  protected:
    ~hearing_promise() = default;

  private:
    friend class future<T>;
    /// May destroy this object. Runs wherever a future is dropped: makes tasks ready, runs none.
    virtual void unwanted() noexcept = 0;
};

/// A future that has its value: make_ready_future(7), make_ready_future<std::string>(3, 'x'),
/// make_ready_future().
template <typename T = void, typename... Args>
future<T> make_ready_future(Args&&... args) {
    return future<T>::ready(std::forward<Args>(args)...);
}
template <typename T = void>
future<T> make_failed_future(std::exception_ptr failure,
                             std::source_location made = std::source_location::current()) noexcept {
    return future<T>::failed_with(std::move(failure), made);
}
template <typename T = void, typename Failure>
    requires(!std::is_same_v<std::remove_cvref_t<Failure>, std::exception_ptr>)
future<T> make_failed_future(Failure&& failure,
                             std::source_location made = std::source_location::current()) noexcept {
    return future<T>::failed_with(std::make_exception_ptr(std::forward<Failure>(failure)), made);
}

/// Calls `fn(args...)` and makes a future of its value, its future or its exception.
template <typename Fn, typename... Args>
auto futurize(Fn&& fn, Args&&... args) noexcept ->
    typename detail::futurized<std::invoke_result_t<Fn, Args...>>::type {
    using R = std::invoke_result_t<Fn, Args...>;
    using F = typename detail::futurized<R>::type;
    try {
        if constexpr (detail::is_future<R>::value) {
            return std::forward<Fn>(fn)(std::forward<Args>(args)...);
        } else if constexpr (std::is_void_v<R>) {
            std::forward<Fn>(fn)(std::forward<Args>(args)...);
            return F::ready();
        } else {
            return F::ready(std::forward<Fn>(fn)(std::forward<Args>(args)...));
        }
    } catch (...) {
        return F::failed_with(std::current_exception());
    }
}

}  // namespace weir

#include <weir/core/future_then.hh>
