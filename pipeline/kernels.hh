// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <utility>
#include <vector>

#include <weir/core/abort.hh>
#include <weir/core/task.hh>
#include <weir/pipeline/batch.hh>
#include <weir/pipeline/element.hh>
#include <weir/pipeline/kernel.hh>
#include <weir/pipeline/model.hh>
#include <weir/pipeline/steps.hh>

// The kernels behind the combinators, with their types.
namespace weir::pipeline::detail {

/// Steps as a stage: what gives one element or none for each that it gets.
template <typename A, typename B, typename Step>
class step_kernel final : public kernel {
  public:
    explicit step_kernel(Step step) : _step(std::move(step)) {}

    kernel_step run(const lane* in, std::size_t n, const slot_lane* out,
                    std::size_t room) override {
        if constexpr (!Step::gives_at_end) {
            n = std::min(n, room);  // then all results find room
        }
        std::size_t consumed = 0;
        std::size_t produced = 0;
        try {
            at_hand step(_step);
            const slots<B> to(out);
            n = for_each_element<A>(in, n, [&](std::size_t i, const ref<A>& element) {
                (*step)(element, [&](auto&& result) {
                    to.store(produced, kept<B>(std::forward<decltype(result)>(result)));
                    ++produced;
                });
                consumed = i + 1;
            });
        } catch (...) {
            return {consumed, produced, std::current_exception()};
        }
        return {n, produced, nullptr};
    }
    kernel_step finish(const slot_lane* out, std::size_t) override {
        kernel_step done;
        if (!std::exchange(_finished, true)) {
            try {
                _step.finish([&](auto&& result) {
                    shape<B>::store(out, done.produced,
                                    kept<B>(std::forward<decltype(result)>(result)));
                    ++done.produced;
                });
            } catch (...) {
                done.failure = std::current_exception();
            }
        }
        return done;
    }

  private:
    Step _step;
    bool _finished = false;
};

/// An element of a range that nobody else will look at: moved out of a container, which shows what
/// is its own as const when it is const itself, copied from anything else.
template <typename Range>
std::ranges::range_value_t<Range> taken_out(const std::ranges::iterator_t<Range>& at) {
    using value = std::ranges::range_value_t<Range>;
    if constexpr (std::same_as<std::ranges::range_reference_t<Range>, value&> &&
                  std::ranges::input_range<const Range>) {
        if constexpr (std::same_as<std::ranges::range_reference_t<const Range>, const value&>) {
            return std::move(*at);
        } else {
            return value(*at);
        }
    } else {
        return value(*at);
    }
}

/// Emits the elements of the range that its function makes of each one, and may stop anywhere.
template <typename A, typename B, typename Function>
class flat_map_kernel final : public kernel {
    using range = std::decay_t<std::invoke_result_t<Function&, ref<A>>>;

  public:
    explicit flat_map_kernel(Function function) : _function(std::move(function)) {}

    kernel_step run(const lane* in, std::size_t n, const slot_lane* out,
                    std::size_t room) override {
        kernel_step done;
        try {
            for (; done.consumed < n; ++done.consumed) {
                if (!_range) {
                    // The range may hold a reference to what the function was called with.
                    _lent.emplace(shape<A>::load(in, done.consumed));
                    _range.emplace(_function(static_cast<const ref<A>&>(*_lent)));
                    _next.emplace(std::ranges::begin(*_range));
                }
                for (; *_next != std::ranges::end(*_range); ++*_next) {
                    if (done.produced == room) {
                        return done;
                    }
                    shape<B>::store(out, done.produced, taken_out<range>(*_next));
                    ++done.produced;
                    if (this_shard().hurried()) [[unlikely]] {
                        ++*_next;
                        return done;
                    }
                }
                _next.reset();
                _range.reset();
                if (this_shard().hurried()) [[unlikely]] {
                    ++done.consumed;
                    break;
                }
            }
        } catch (...) {
            done.failure = std::current_exception();
        }
        return done;
    }

  private:
    Function _function;
    std::optional<typename shape<A>::held> _lent;
    std::optional<range> _range;  // of the element that is being taken apart
    std::optional<std::ranges::iterator_t<range>> _next;
};

/// Collects `size` elements at a time; the last window may be short.
template <typename A>
class window_kernel final : public kernel {
  public:
    explicit window_kernel(std::size_t size) : _size(size) {}

    kernel_step run(const lane* in, std::size_t n, const slot_lane* out,
                    std::size_t room) override {
        kernel_step done;
        try {
            for (; done.consumed < n && done.produced < room; ++done.consumed) {
                _window.push_back(shape<A>::copy(shape<A>::load(in, done.consumed)));
                if (_window.size() == _size) {
                    emit(out, done);
                }
            }
        } catch (...) {
            done.failure = std::current_exception();
        }
        return done;
    }
    kernel_step finish(const slot_lane* out, std::size_t) override {
        kernel_step done;
        if (!_window.empty()) {
            emit(out, done);
        }
        return done;
    }

  private:
    void emit(const slot_lane* out, kernel_step& done) {
        shape<std::vector<A>>::store(out, done.produced, std::move(_window));
        ++done.produced;
        _window = std::vector<A>();  // {} would ask for elements that can be assigned
    }

    const std::size_t _size;
    std::vector<A> _window;
};

/// Starts futures; each result goes where its ticket says.
template <typename A, typename B, typename Function>
class map_async_kernel final : public async_kernel {
  public:
    /// window   tickets under way at most
    map_async_kernel(Function function, std::size_t window)
        : _function(std::move(function)),
          _window(window),
          _flights(std::make_unique<flight[]>(window)) {}

    void start(const lane* in, std::size_t i, std::size_t ticket, async_results& to) override {
        _flights[ticket % _window].begin(_function, shape<A>::load(in, i), _stop, ticket, to);
    }
    void abort(const std::exception_ptr& reason) noexcept override { _stop.request(reason); }

  private:
    /// A ticket under way. All are made beforehand: a result must find who waits for it.
    class flight final : public task {
      public:
        void begin(Function& function, const ref<A>& element, abort_source& stop,
                   std::size_t ticket, async_results& to) noexcept {
            // A coroutine may hold a reference to what it was called with until it ends.
            _lent.emplace(element);
            _ticket = ticket;
            _to = &to;
            _result = begin_async(function, static_cast<const ref<A>&>(*_lent), stop);
            if (_result.available()) {
                run();
            } else {
                _result.set_waiter(*this);
            }
        }
        void run() noexcept override {
            if (_result.failed()) {
                _to->completed(_ticket, _result.take_failure());
            } else {
                shape<B>::store(_to->place(_ticket), 0, _result.take());
                _to->completed(_ticket, nullptr);
            }
        }

      private:
        std::optional<typename shape<A>::held> _lent;
        std::size_t _ticket = 0;
        async_results* _to = nullptr;
        future<B> _result;
    };

    Function _function;
    abort_source _stop;
    const std::size_t _window;
    const std::unique_ptr<flight[]> _flights;  // by ticket, round and round
};

}  // namespace weir::pipeline::detail
