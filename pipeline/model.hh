// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <exception>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/pipeline/element.hh>

// What pipelines mean: functions of lists, one combinator after the other, with nothing at the
// same time. A deployed pipeline gives what its model gives; that is the law.
namespace weir::pipeline {

/// A stream as a list: its elements, and what came instead of the next one; null at a good end.
template <typename T>
struct listed {
    std::vector<T> values{};
    std::exception_ptr failure{};
};

/// A pipeline as a function of lists; a future, since some stages wait.
template <typename A, typename B>
using list_function = std::function<future<listed<B>>(listed<A>)>;

namespace detail {

template <typename A, typename B>
using model_ptr = std::shared_ptr<const list_function<A, B>>;

template <typename A, typename B, typename Function>
model_ptr<A, B> make_model(Function function) {
    return std::make_shared<const list_function<A, B>>(std::move(function));
}

/// An element, or a list, that both sides of a pipeline need to see at one time.
/// fails    weir::error malformed where elements can't be copied: a deployment needs no copies
template <typename T>
T copied(const T& value) {
    if constexpr (std::copy_constructible<T>) {
        return value;
    } else {
        throw error("model", "a list of elements that can't be copied", errc::malformed);
    }
}
template <typename T>
listed<T> copied(const listed<T>& list) {
    listed<T> out{{}, list.failure};
    for (const auto& each : list.values) {
        out.values.push_back(copied<T>(each));
    }
    return out;
}

/// Appends what `step(element, out)` makes of each element, up to the first that fails.
template <typename B, typename A, typename Step>
listed<B> for_each_listed(const listed<A>& in, Step step) {
    listed<B> out;
    for (std::size_t i = 0; i < in.values.size(); ++i) {
        const A& element = in.values[i];
        try {
            step(shape<A>::as_ref(element), out.values);
        } catch (...) {
            out.failure = std::current_exception();
            return out;
        }
    }
    out.failure = in.failure;
    return out;
}

/// A function that takes an element, and perhaps an abort_source&.
template <typename Function, typename Element>
concept begins = std::is_invocable_v<Function&, const Element&> ||
                 std::is_invocable_v<Function&, const Element&, abort_source&>;

/// What it returns.
template <typename Function, typename Element>
struct begun : std::invoke_result<Function&, const Element&> {};
template <typename Function, typename Element>
    requires std::is_invocable_v<Function&, const Element&, abort_source&>
struct begun<Function, Element> : std::invoke_result<Function&, const Element&, abort_source&> {};
template <typename Function, typename Element>
using begun_by = std::decay_t<typename begun<Function, Element>::type>;

/// Calls a function that returns a future, with what it may be told to end by if it takes that.
template <typename Function, typename Element>
auto begin_async(Function& function, const Element& element, abort_source& stop) {
    if constexpr (std::is_invocable_v<Function&, const Element&, abort_source&>) {
        return futurize([&] { return function(element, stop); });
    } else {
        return futurize(function, element);
    }
}

template <typename A, typename B, typename Function>
future<listed<B>> model_async(Function function, listed<A> in) {
    listed<B> out;
    abort_source never;
    for (std::size_t i = 0; i < in.values.size(); ++i) {
        const A& element = std::as_const(in.values)[i];
        try {
            const ref<A>& seen = shape<A>::as_ref(element);
            out.values.push_back(co_await begin_async(function, seen, never));
        } catch (...) {
            out.failure = std::current_exception();
            co_return out;
        }
    }
    out.failure = in.failure;
    co_return out;
}

template <typename A, typename B, typename C>
future<listed<C>> model_sequence(model_ptr<A, B> first, model_ptr<B, C> second, listed<A> in) {
    co_return co_await (*second)(co_await (*first)(std::move(in)));
}

/// As long as the shorter one, and ends as that does; the left one if they are equally long.
template <typename A, typename B>
listed<std::pair<A, B>> zip_lists(listed<A> left, listed<B> right) {
    listed<std::pair<A, B>> out;
    const std::size_t count = std::min(left.values.size(), right.values.size());
    for (std::size_t i = 0; i < count; ++i) {
        out.values.emplace_back(std::move(left.values[i]), std::move(right.values[i]));
    }
    out.failure = left.values.size() <= right.values.size() ? left.failure : right.failure;
    return out;
}

template <typename A, typename B, typename C, typename D>
future<listed<std::pair<C, D>>> model_both(model_ptr<A, C> first, model_ptr<B, D> second,
                                           listed<std::pair<A, B>> in) {
    listed<A> left{{}, in.failure};
    listed<B> right{{}, in.failure};
    for (auto& [a, b] : in.values) {
        left.values.push_back(std::move(a));
        right.values.push_back(std::move(b));
    }
    auto lefts = co_await (*first)(std::move(left));
    co_return zip_lists(std::move(lefts), co_await (*second)(std::move(right)));
}

template <typename A, typename C, typename D>
future<listed<std::pair<C, D>>> model_fanout(model_ptr<A, C> first, model_ptr<A, D> second,
                                             listed<A> in) {
    auto lefts = co_await (*first)(copied(in));
    co_return zip_lists(std::move(lefts), co_await (*second)(std::move(in)));
}

/// Both sides by themselves, then in the order of the input; `put(side, element)` says how an
/// element of either side comes out.
template <typename Out, typename A, typename B, typename C, typename D, typename Put>
future<listed<Out>> model_choice(model_ptr<A, C> first, model_ptr<B, D> second, Put put,
                                 listed<either<A, B>> in) {
    std::vector<std::size_t> sides;
    listed<A> left{{}, in.failure};
    listed<B> right{{}, in.failure};
    for (auto& each : in.values) {
        sides.push_back(each.index());
        if (each.index() == 0) {
            left.values.push_back(std::move(*std::get_if<0>(&each)));
        } else {
            right.values.push_back(std::move(*std::get_if<1>(&each)));
        }
    }
    auto lefts = co_await (*first)(std::move(left));
    auto rights = co_await (*second)(std::move(right));
    listed<Out> out;
    std::size_t l = 0;
    std::size_t r = 0;
    for (const std::size_t side : sides) {
        if (side == 0 ? l == lefts.values.size() : r == rights.values.size()) {
            out.failure = side == 0 ? lefts.failure : rights.failure;
            co_return out;
        }
        if (side == 0) {
            put(std::in_place_index<0>, std::move(lefts.values[l++]), out.values);
        } else {
            put(std::in_place_index<1>, std::move(rights.values[r++]), out.values);
        }
    }
    out.failure = in.failure;
    co_return out;
}

/// Goes round until every element has had its turn: each round knows what the one before fed back.
template <typename A, typename B, typename S>
future<listed<B>> model_loop(model_ptr<std::pair<A, S>, std::pair<B, S>> body,
                             std::vector<S> initial, listed<A> in) {
    std::vector<S> fed = initial;
    for (;;) {
        listed<std::pair<A, S>> known;
        const std::size_t count = std::min(in.values.size(), fed.size());
        for (std::size_t i = 0; i < count; ++i) {
            known.values.emplace_back(copied<A>(in.values[i]), S(fed[i]));
        }
        auto given = co_await (*body)(std::move(known));
        if (given.failure || count == in.values.size()) {
            listed<B> out{{}, given.failure ? given.failure : in.failure};
            for (auto& each : given.values) {
                out.values.push_back(std::move(each.first));
            }
            co_return out;
        }
        fed = initial;
        for (auto& each : given.values) {
            fed.push_back(std::move(each.second));
        }
    }
}

/// Each tag's elements by themselves, then in the order of the input.
template <typename A, typename B, typename Key>
future<listed<B>> model_key_shard(model_ptr<A, B> body, Key key, std::size_t parts, listed<A> in) {
    std::vector<std::size_t> tags;
    std::vector<listed<A>> dealt(parts);
    for (std::size_t i = 0; i < in.values.size(); ++i) {
        A each(std::move(in.values[i]));  // no reference: a list of bools has none
        try {
            tags.push_back(key(shape<A>::as_ref(each)));
        } catch (...) {
            in.failure = std::current_exception();
            break;
        }
        dealt[tags.back()].values.push_back(std::move(each));
    }
    std::vector<listed<B>> given;
    for (auto& each : dealt) {
        each.failure = in.failure;
        given.push_back(co_await (*body)(std::move(each)));
    }
    listed<B> out;
    std::vector<std::size_t> next(parts);
    for (const std::size_t from : tags) {
        if (next[from] == given[from].values.size()) {
            out.failure = given[from].failure;
            co_return out;
        }
        out.values.push_back(std::move(given[from].values[next[from]++]));
    }
    out.failure = in.failure;
    co_return out;
}

}  // namespace detail

}  // namespace weir::pipeline
