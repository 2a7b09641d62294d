// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <utility>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/pipeline/ends.hh>

namespace weir::pipeline {

/// A coroutine that gives elements with co_yield and may wait with co_await between them.
/// thread   one shard
template <typename T>
class generator {
  public:
    class promise_type final : public task {
      public:
        static void* operator new(std::size_t bytes) { return this_shard().pool().allocate(bytes); }
        static void operator delete(void* memory, std::size_t bytes) noexcept {
            this_shard().pool().deallocate(memory, bytes);
        }

        generator get_return_object() noexcept { return generator(handle()); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        std::suspend_always final_suspend() noexcept {
            rest(true);
            return {};
        }
        std::suspend_always yield_value(T value) {
            _value.emplace(std::move(value));
            rest(false);
            return {};
        }
        void return_void() const noexcept {}
        void unhandled_exception() noexcept { _failure = std::current_exception(); }
        void run() noexcept override { handle().resume(); }
        void* coroutine_address() noexcept override { return handle().address(); }

      private:
        friend class generator;
        auto handle() noexcept { return std::coroutine_handle<promise_type>::from_promise(*this); }
        void rest(bool ended) noexcept {
            _running = false;
            _ended = ended;
            if (_rested.open()) {
                _rested.set_value();
            }
        }

        std::optional<T> _value;
        std::exception_ptr _failure;
        promise<> _rested;
        bool _running = false;
        bool _ended = false;
    };

    generator(generator&& other) noexcept : _frame(std::exchange(other._frame, nullptr)) {}
    generator& operator=(generator&&) = delete;
    /// It is not waiting for anything.
    ~generator() {
        if (_frame) {
            WEIR_ASSERT(!_frame.promise()._running);
            _frame.destroy();
        }
    }

    /// Goes on until the next element, a wait or the end.
    /// returns  the element; none: the end if ended(), else call again after rested()
    /// fails    with what the coroutine throws
    std::optional<T> next() {
        promise_type& own = _frame.promise();
        if (!own._running && !own._ended && !own._value) {
            own._running = true;
            _frame.resume();
        }
        if (own._failure) {
            std::rethrow_exception(std::exchange(own._failure, nullptr));
        }
        return std::exchange(own._value, std::nullopt);
    }
    /// Whether nothing comes any more.
    bool ended() const noexcept {
        const promise_type& own = _frame.promise();
        return own._ended && !own._failure && !own._value;
    }
    /// Ready when it is not waiting for anything.
    future<> rested() {
        promise_type& own = _frame.promise();
        if (!own._running) {
            return make_ready_future();
        }
        own._rested = {};
        return own._rested.get_future();
    }

  private:
    explicit generator(std::coroutine_handle<promise_type> frame) noexcept : _frame(frame) {}

    std::coroutine_handle<promise_type> _frame;
};

namespace detail {

template <typename T, typename Make>
class generator_source final : public source {
  public:
    explicit generator_source(Make make) : _make(std::move(make)) {}

    void fill(const slot_lane* out, std::size_t room, source_step& done) override {
        if (!_from) {
            _from.emplace(_make(_stop));
        }
        while (done.produced < room && !done.ended) {
            std::optional<T> value = _from->next();
            if (value) {
                shape<T>::store(out, done.produced++, std::move(*value));
            } else if (_from->ended()) {
                done.ended = true;
            } else {
                break;
            }
        }
    }
    future<> wait() override { return _from->rested(); }
    void stop() noexcept override { _stop.request(); }
    future<> close() override {
        _stop.request();
        if (_from) {
            co_await _from->rested();
            _from.reset();
        }
    }

  private:
    Make _make;
    abort_source _stop;
    std::optional<generator<T>> _from;
};

template <typename>
struct generated;
template <typename T>
struct generated<generator<T>> {
    using type = T;
};

}  // namespace detail

/// What a coroutine yields. When the pipeline is stopped or wants no more, its abort_source is
/// triggered: give it to whatever the coroutine waits for, for the pipeline waits for that.
/// make     `generator<T> make(abort_source& stop)`; copied for each deployment, called on the
///          source's shard, where it outlives the coroutine
template <typename Make>
auto from_generator(Make make) {
    using T = typename detail::generated<std::invoke_result_t<Make&, abort_source&>>::type;
    return source_of<T>{
        "generator", [make] { return std::make_unique<detail::generator_source<T, Make>>(make); }};
}

namespace detail {

/// A range and how far it was gone through.
template <typename Range>
class range_place {
  public:
    explicit range_place(const Range& range) : _range(range) {}
    range_place(const range_place&) = delete;
    range_place& operator=(const range_place&) = delete;

    std::optional<std::ranges::range_value_t<Range>> next() {
        if (!_at) {
            _at.emplace(std::ranges::begin(_range));
        } else if (*_at != std::ranges::end(_range)) {
            ++*_at;
        }
        if (*_at == std::ranges::end(_range)) {
            return std::nullopt;
        }
        return **_at;
    }

  private:
    Range _range;
    std::optional<std::ranges::iterator_t<Range>> _at;
};

}  // namespace detail

/// The elements of a range, one after the other, each made when there is room for it; the range
/// may have no end. Its copies must be as good as it is: a view of something that stays, or a
/// container.
template <std::ranges::input_range Range>
    requires std::copy_constructible<Range>
auto from_range(Range range) {
    using T = std::ranges::range_value_t<Range>;
    return source_of<T>{
        "range", [range = std::move(range)] {
            // In a place of its own: its iterator may point into it.
            auto own = std::make_unique<detail::range_place<Range>>(range);
            detail::function_pull pull{[own = std::move(own)] { return own->next(); }};
            return std::make_unique<detail::pulling_source<T, decltype(pull)>>(std::move(pull));
        }};
}

}  // namespace weir::pipeline
