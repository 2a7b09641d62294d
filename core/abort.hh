// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/timer.hh>

namespace weir {

class abort_source;

/// What an abort_source tells that it was triggered. Unsubscribes itself when it is destroyed.
/// thread   the shard of the source
class abort_subscription {
  public:
    abort_subscription() = default;
    abort_subscription(const abort_subscription&) = delete;
    abort_subscription& operator=(const abort_subscription&) = delete;

    bool subscribed() const noexcept { return _next != nullptr; }
    void unsubscribe() noexcept {
        if (_next) {
            _next->_previous = _previous;
            _previous->_next = _next;
            _next = _previous = nullptr;
        }
    }

  protected:
    ~abort_subscription() { unsubscribe(); }
    /// Runs inside abort_source::request(), unsubscribed already: settles a promise, wakes a
    /// task, asks the kernel to cancel. May destroy this object, not the source.
    virtual void on_abort(const std::exception_ptr& reason) noexcept = 0;

  private:
    friend class abort_source;
    abort_subscription* _next = nullptr;
    abort_subscription* _previous = nullptr;
};

/// Where someone asks for the end of work that is under way. Whatever can wait takes one and fails
/// with its reason. A source may have a parent, whose end is its end too, and a deadline.
/// thread   one shard, for life
/// cost     subscribing is two pointer pairs, no allocation
class abort_source {
  public:
    abort_source() noexcept : _subscribers(), _parent_link(*this), _deadline(*this) {}
    // NOLINTNEXTLINE(google-explicit-constructor): a child, no copy
    explicit abort_source(abort_source& parent) : abort_source() { link(parent); }
    abort_source(const abort_source&) = delete;
    abort_source& operator=(const abort_source&) = delete;
    /// Who still subscribes will never be told.
    ~abort_source();

    bool requested() const noexcept { return _reason != nullptr; }
    /// Why, once requested(): an error of errc::aborted or errc::timed_out if nobody said better.
    const std::exception_ptr& reason() const noexcept { return _reason; }
    /// Throws the reason if requested. For loops.
    void check() const {
        if (_reason) [[unlikely]] {
            std::rethrow_exception(_reason);
        }
    }

    /// Tells every subscriber, in order of subscription. Only the first request counts.
    /// returns  whether this was it
    bool request() noexcept;
    bool request(std::exception_ptr reason) noexcept;
    /// Requests itself with errc::timed_out at `due`; `never` takes the deadline back.
    void abort_at(instant due);
    /// When it requests itself, `never` if nobody said.
    instant deadline() const noexcept { return _deadline.armed() ? _deadline.due() : never; }
    /// Ends when `parent` does, at once if that has ended. One parent at most.
    void link(abort_source& parent);

    /// Adds a subscriber.
    /// returns  false if requested already: it will not be called
    [[nodiscard]] bool subscribe(abort_subscription& added) noexcept {
        if (_reason) {
            return false;
        }
        WEIR_ASSERT(!added.subscribed());
        _subscribers.push_back(added);
        return true;
    }

  private:
    /// The head of the circle of subscribers.
    struct circle final : abort_subscription {
        circle() noexcept { _next = _previous = this; }
        ~circle() { unsubscribe(); }
        void on_abort(const std::exception_ptr&) noexcept override {}
        bool empty() const noexcept { return _next == this; }
        abort_subscription& front() noexcept { return *_next; }
        void push_back(abort_subscription& added) noexcept {
            added._next = this;
            added._previous = _previous;
            _previous->_next = &added;
            _previous = &added;
        }
    };
    struct parent_link final : abort_subscription {
        explicit parent_link(abort_source& owner) noexcept : own(owner) {}
        void on_abort(const std::exception_ptr& reason) noexcept override { own.request(reason); }
        abort_source& own;
    };
    struct deadline_timer final : timer {
        explicit deadline_timer(abort_source& owner) noexcept : own(owner) {}
        void fire() noexcept override;
        abort_source& own;
    };

    circle _subscribers;
    std::exception_ptr _reason;
    parent_link _parent_link;
    deadline_timer _deadline;
};

/// A subscription that calls `fn(const std::exception_ptr& reason)`.
template <typename Fn>
class abort_callback final : public abort_subscription {
  public:
    /// Calls at once if `source` was triggered already.
    abort_callback(abort_source& source, Fn fn) : _fn(std::move(fn)) {
        if (!source.subscribe(*this)) {
            _fn(source.reason());
        }
    }

  private:
    void on_abort(const std::exception_ptr& reason) noexcept override { _fn(reason); }
    [[no_unique_address]] Fn _fn;
};

namespace detail {

/// Waits for `work` in someone's stead, so that the one who asked can go on without it: then what
/// it ends with is nobody's concern.
template <typename T>
class abandonable final : public task, public hearing_promise<T>, public pooled {
  public:
    explicit abandonable(future<T>&& work) noexcept
        : _work(std::move(work)), _timer(*this), _abort(*this) {}

    future<T> start(instant due, abort_source* source) {
        future<T> result = this->get_future();
        _work.set_waiter(*this);
        if (source != nullptr) {
            const bool subscribed = source->subscribe(_abort);
            WEIR_ASSERT(subscribed);
        }
        if (due != never) {
            _timer.arm(due);
        }
        return result;
    }
    void run() noexcept override {
        if (this->open()) {
            this->set_from(std::move(_work));
        } else {
            std::move(_work).ignore();
        }
        delete this;
    }

  private:
    struct due_timer final : timer {
        explicit due_timer(abandonable& owner) noexcept : own(owner) {}
        void fire() noexcept override {
            own.give_up(make_failure("wait", "with a deadline", errc::timed_out));
        }
        abandonable& own;
    };
    struct abort_link final : abort_subscription {
        explicit abort_link(abandonable& owner) noexcept : own(owner) {}
        void on_abort(const std::exception_ptr& reason) noexcept override { own.give_up(reason); }
        abandonable& own;
    };

    void give_up(std::exception_ptr reason) noexcept {
        this->set_failure(std::move(reason));
        leave(true);
    }
    void unwanted() noexcept override { leave(this->ignored()); }
    // Work that has ended has run() in line, which comes to the end of this, too.
    void leave(bool ignoring) noexcept {
        _timer.cancel();
        _abort.unsubscribe();
        if (_work.clear_waiter()) {
            if (ignoring) {
                std::move(_work).ignore();
            }
            delete this;
        }
    }

    future<T> _work;
    due_timer _timer;
    abort_link _abort;
};

}  // namespace detail

/// Ends as `work` does, or with errc::timed_out at `due`. Work that is late goes on, and what it
/// ends with is dropped: only for work that owns all it uses.
template <typename T>
future<T> with_deadline(instant due, future<T> work) {
    if (work.available() || due == never) {
        return work;
    }
    return (new detail::abandonable<T>(std::move(work)))->start(due, nullptr);
}

/// Ends as `work` does, or with the reason of `source` as soon as that is triggered, when work
/// that is late goes on unobserved: only for work that owns all it uses.
template <typename T>
future<T> with_abort(abort_source& source, future<T> work) {
    if (work.available()) {
        return work;
    }
    if (source.requested()) {
        std::move(work).ignore();
        return future<T>::failed_with(source.reason());
    }
    return (new detail::abandonable<T>(std::move(work)))->start(never, &source);
}

/// Calls `fn(abort_source&)`, whose source is triggered at `due`, and ends as that does: only when
/// the work has ended, so it may use what the caller owns. To be in time, it must heed the source.
template <typename Fn>
auto with_deadline(instant due, Fn fn) ->
    typename detail::futurized<std::invoke_result_t<Fn&, abort_source&>>::type {
    abort_source source;
    source.abort_at(due);
    co_return co_await futurize(fn, source);
}

}  // namespace weir
