// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include <weir/core/await_all.hh>

namespace weir {

namespace detail {

/// The values of futures that succeeded, without the voids; nothing if there are only voids.
template <typename... Ts>
using values_of = decltype(std::tuple_cat(
    std::declval<
        std::conditional_t<std::is_void_v<Ts>, std::tuple<>,
                           std::tuple<std::conditional_t<std::is_void_v<Ts>, int, Ts>>>>()...));
template <typename... Ts>
using succeeded = std::conditional_t<(std::is_void_v<Ts> && ...), void, values_of<Ts...>>;

template <typename T>
auto value_tuple(future<T>& settled) {
    if constexpr (std::is_void_v<T>) {
        settled.take();
        return std::tuple<>();
    } else {
        return std::tuple<T>(settled.take());
    }
}

}  // namespace detail

/// Waits for all, however they end, and gives them back, available.
template <typename... Ts>
future<std::tuple<future<Ts>...>> when_all(future<Ts>... each) {
    (co_await settled(each), ...);
    co_return std::tuple<future<Ts>...>(std::move(each)...);
}
template <typename T>
future<std::vector<future<T>>> when_all(std::vector<future<T>> all) {
    co_await settled(all);
    co_return std::move(all);
}

/// Waits for all and gives their values, voids left out: a tuple, or nothing for voids alone.
/// fails    when all have ended, as the leftmost that failed; the others' failures are dropped
template <typename... Ts>
future<detail::succeeded<Ts...>> when_all_succeed(future<Ts>... each) {
    co_await await_all(each...);
    if constexpr (std::is_void_v<detail::succeeded<Ts...>>) {
        (each.take(), ...);
    } else {
        co_return std::tuple_cat(detail::value_tuple(each)...);
    }
}
template <typename T>
future<std::conditional_t<std::is_void_v<T>, void, std::vector<detail::stored<T>>>>
when_all_succeed(std::vector<future<T>> all) {
    co_await await_all(all);
    if constexpr (!std::is_void_v<T>) {
        std::vector<T> values;
        values.reserve(all.size());
        for (future<T>& each : all) {
            values.push_back(each.take());
        }
        co_return values;
    }
}

/// What when_any gives back: all the futures, and which of them was there first.
template <typename Futures>
struct when_any_result {
    std::size_t index;
    Futures futures;
};

namespace detail {

/// Waits for the first of several futures; lives until no task of it is in line any more.
template <typename Futures>
class any_wait final : public hearing_promise<when_any_result<Futures>>, public pooled {
  public:
    any_wait(Futures&& futures, std::size_t count)
        : _futures(std::move(futures)), _watches(std::make_unique<watch[]>(count)) {}

    future<when_any_result<Futures>> start() {
        auto result = this->get_future();
        for_each(_futures, [this](std::size_t index, auto& each) {
            _watches[index].own = this;
            _watches[index].index = index;
            each.set_waiter(_watches[index]);
            ++_watching;
        });
        return result;
    }

    template <typename Fn, typename T>
    static void for_each(std::vector<future<T>>& all, Fn fn) {
        for (std::size_t index = 0; index < all.size(); ++index) {
            fn(index, all[index]);
        }
    }
    template <typename Fn, typename... Ts>
    static void for_each(std::tuple<future<Ts>...>& all, Fn fn) {
        std::apply(
            [&fn, index = std::size_t{0}](auto&... each) mutable { (fn(index++, each), ...); },
            all);
    }

  private:
    struct watch final : task {
        void run() noexcept override { own->settled(index); }
        any_wait* own = nullptr;
        std::size_t index = 0;
    };

    void settled(std::size_t index) noexcept {
        --_watching;
        if (this->wanted()) {
            watch_no_more();
            this->set_value(index, std::move(_futures));
        }
        leave();
    }
    // The futures go, with what was armed and lined up for them.
    void unwanted() noexcept override {
        watch_no_more();
        _futures = Futures();
        leave();
    }
    void watch_no_more() noexcept {
        for_each(_futures,
                 [this](std::size_t, auto& each) { _watching -= each.clear_waiter() ? 1 : 0; });
    }
    void leave() noexcept {
        if (_watching == 0) {
            delete this;
        }
    }

    Futures _futures;
    std::unique_ptr<watch[]> _watches;
    std::size_t _watching = 0;
};

template <typename Futures>
future<when_any_result<Futures>> first_of(Futures&& futures, std::size_t count) {
    WEIR_ASSERT(count > 0);
    std::size_t there = count;
    any_wait<Futures>::for_each(futures, [&there, count](std::size_t index, auto& each) {
        there = there == count && each.available() ? index : there;
    });
    if (there < count) {
        return make_ready_future<when_any_result<Futures>>(there, std::forward<Futures>(futures));
    }
    return (new any_wait<Futures>(std::forward<Futures>(futures), count))->start();
}

}  // namespace detail

/// Waits for the first of at least one, however it ends, and gives all back: those that are not
/// there yet go on. Dropped futures of sleeps and of those who wait in line take those back.
template <typename... Ts>
future<when_any_result<std::tuple<future<Ts>...>>> when_any(future<Ts>... each) {
    return detail::first_of(std::tuple<future<Ts>...>(std::move(each)...), sizeof...(Ts));
}
template <typename T>
future<when_any_result<std::vector<future<T>>>> when_any(std::vector<future<T>> all) {
    const std::size_t count = all.size();
    return detail::first_of(std::move(all), count);
}

}  // namespace weir
