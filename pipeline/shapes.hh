// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <weir/pipeline/columns.hh>
#include <weir/pipeline/combinators.hh>

// The combinators that lay pipelines side by side, in a circle, or out in copies. They are views of
// the rings that are there, and copy no element; but where one would pick from what was picked from
// what was picked, a stage before it copies elements that can be copied.
namespace weir::pipeline {

/// Whether elements can be copied with all that they hold. Of a class that is not trivially
/// copyable a program can't find that out (one that holds a vector of what can't be says that it
/// can), so it counts as one that can't be until somebody says so:
///     template <> inline constexpr bool weir::pipeline::copies<record> = true;
template <typename T>
inline constexpr bool copies = std::copy_constructible<T> && std::is_trivially_copyable_v<T>;

namespace detail {
// A path is a range of paths.
template <typename T, typename Value>
inline constexpr bool copies_values = copies<Value>;
template <typename T>
inline constexpr bool copies_values<T, T> = true;
}  // namespace detail

template <std::ranges::range T>
inline constexpr bool copies<T> =
    std::copy_constructible<T> &&
    detail::copies_values<T, std::remove_cv_t<std::ranges::range_value_t<T>>>;
template <typename T>
inline constexpr bool copies<std::optional<T>> = copies<std::remove_cv_t<T>>;
template <typename A, typename B>
inline constexpr bool copies<std::pair<A, B>> =
    copies<std::remove_cv_t<A>> && copies<std::remove_cv_t<B>>;
template <typename... Each>
inline constexpr bool copies<std::tuple<Each...>> = (copies<std::remove_cv_t<Each>> && ...);
template <typename... Each>
inline constexpr bool copies<std::variant<Each...>> = (copies<std::remove_cv_t<Each>> && ...);
template <typename T>
inline constexpr bool copies<std::shared_ptr<T>> = true;
template <>
inline constexpr bool copies<std::exception_ptr> = true;

namespace detail {

template <typename>
inline constexpr bool is_pair = false;
template <typename A, typename B>
inline constexpr bool is_pair<std::pair<A, B>> = true;
template <typename, typename>
inline constexpr bool feeds_back = false;
template <typename B, typename S>
inline constexpr bool feeds_back<std::pair<B, S>, S> = true;
template <typename>
inline constexpr bool is_either = false;
template <typename A, typename B>
inline constexpr bool is_either<std::variant<A, B>> = true;

template <traits S, traits T>
constexpr auto check_side_by_side() {
    static_assert(S.yields == T.yields && S.yields != rate::any,
                  "rate: pipelines side by side must give one element for each, or both one at "
                  "the end; a filter, flat_map or window can't stand here");
    static_assert(S.ordered && T.ordered,
                  "order: what comes unordered can't be put beside anything");
    return true;
}
template <traits S, traits T>
constexpr auto check_choice() {
    static_assert(S.yields == rate::one && T.yields == rate::one,
                  "rate: each side of a choice must give one element for each; a filter, "
                  "flat_map, window or reduce can't stand here");
    static_assert(S.ordered && T.ordered,
                  "order: what comes unordered can't be put back in the order of its input");
    return true;
}
template <traits T>
constexpr auto check_sharded() {
    static_assert(T.yields == rate::one,
                  "rate: a sharded pipeline must give one element for each; a filter, flat_map, "
                  "window or reduce can't stand here");
    static_assert(T.ordered,
                  "order: what comes unordered can't be put back in the order of its input");
    return true;
}

template <typename A, typename B>
node shaped(node::form kind, const char* name, std::vector<node_ptr> of) {
    return node{
        .kind = kind, .name = name, .in = &type_of<A>(), .out = &type_of<B>(), .of = std::move(of)};
}

/// A word that picks, with the stage that may go before it: see node::copier.
template <typename A, typename B>
node picking(node::form kind, const char* name, std::vector<node_ptr> of) {
    node graph = shaped<A, B>(kind, name, std::move(of));
    if constexpr (copies<A>) {
        node copier = work<A, A>(name);
        copier.make = [] { return std::make_unique<step_kernel<A, A, id_step>>(id_step()); };
        graph.copier = std::make_shared<const node>(std::move(copier));
    }
    return graph;
}

/// What is visible of both sides is visible of the pair.
template <template <typename, typename, typename, typename> typename Step, typename C, typename D,
          typename Whole, typename First, typename Second>
auto see_pair(Whole whole, const First& first, const Second& second) {
    if constexpr (is_visible<First> && is_visible<Second>) {
        using F = std::decay_t<decltype(first.step())>;
        using G = std::decay_t<decltype(second.step())>;
        return visible_pipe(std::move(whole), Step<C, D, F, G>(first.step(), second.step()));
    } else {
        return whole;
    }
}

/// Values in columns, as rings hold them.
template <typename S>
constants hold(const std::vector<S>& values) {
    struct held {
        columns memory;
        std::vector<slot_lane> slots;
        std::size_t count = 0;
        ~held() {
            for (std::size_t i = 0; i < count; ++i) {
                shape<S>::destroy(slots.data(), i);
            }
        }
    };
    const element_type& type = type_of<S>();
    auto owner = std::make_shared<held>(columns(type, values.size()),
                                        std::vector<slot_lane>(type.columns.size()));
    owner->memory.slots(0, owner->slots.data());
    constants result{.count = values.size()};
    for (const slot_lane& each : owner->slots) {
        result.columns.push_back(each.base);
    }
    for (const S& each : values) {
        shape<S>::store(owner->slots.data(), owner->count, S(each));
        ++owner->count;
    }
    result.owner = std::move(owner);
    return result;
}

}  // namespace detail

/// One pipeline for the first half of each pair, one for the second.
template <combinator P, combinator Q>
auto both(const P& first, const Q& second) {
    return untyped{[first, second]<typename AB>() {
        static_assert(detail::is_pair<AB>, "both takes elements that are pairs");
        using A = typename AB::first_type;
        using B = typename AB::second_type;
        const auto& f = first.template of<A>();
        const auto& g = second.template of<B>();
        using C = typename std::decay_t<decltype(f)>::result;
        using D = typename std::decay_t<decltype(g)>::result;
        constexpr traits of_first = std::decay_t<decltype(f)>::kept;
        constexpr traits of_second = std::decay_t<decltype(g)>::kept;
        static_assert(detail::check_side_by_side<of_first, of_second>());
        auto whole =
            detail::make_pipe<AB, std::pair<C, D>, detail::side_by_side(of_first, of_second)>(
                detail::shaped<AB, std::pair<C, D>>(node::form::both, "both",
                                                    {f.graph(), g.graph()}),
                detail::make_model<AB, std::pair<C, D>>(
                    [f = f.meaning(), g = g.meaning()](listed<AB> in) {
                        return detail::model_both<A, B, C, D>(f, g, std::move(in));
                    }));
        return detail::see_pair<detail::both_step, C, D>(std::move(whole), f, g);
    }};
}

/// Two pipelines for the same elements; their results as pairs.
template <combinator P, combinator Q>
auto fanout(const P& first, const Q& second) {
    return untyped{[first, second]<typename A>() {
        const auto& f = first.template of<A>();
        const auto& g = second.template of<A>();
        using C = typename std::decay_t<decltype(f)>::result;
        using D = typename std::decay_t<decltype(g)>::result;
        constexpr traits of_first = std::decay_t<decltype(f)>::kept;
        constexpr traits of_second = std::decay_t<decltype(g)>::kept;
        static_assert(detail::check_side_by_side<of_first, of_second>());
        auto whole =
            detail::make_pipe<A, std::pair<C, D>, detail::side_by_side(of_first, of_second)>(
                detail::shaped<A, std::pair<C, D>>(node::form::fanout, "fanout",
                                                   {f.graph(), g.graph()}),
                detail::make_model<A, std::pair<C, D>>(
                    [f = f.meaning(), g = g.meaning()](listed<A> in) {
                        return detail::model_fanout<A, C, D>(f, g, std::move(in));
                    }));
        return detail::see_pair<detail::fanout_step, C, D>(std::move(whole), f, g);
    }};
}

/// One pipeline for the left elements, one for the right ones; their results stay apart.
template <combinator P, combinator Q>
auto choose(const P& left, const Q& right) {
    return untyped{[left, right]<typename AB>() {
        static_assert(detail::is_either<AB>, "choose takes elements that are an either");
        using A = std::variant_alternative_t<0, AB>;
        using B = std::variant_alternative_t<1, AB>;
        const auto& f = left.template of<A>();
        const auto& g = right.template of<B>();
        using C = typename std::decay_t<decltype(f)>::result;
        using D = typename std::decay_t<decltype(g)>::result;
        constexpr traits of_left = std::decay_t<decltype(f)>::kept;
        constexpr traits of_right = std::decay_t<decltype(g)>::kept;
        static_assert(detail::check_choice<of_left, of_right>());
        using E = either<C, D>;
        return detail::make_pipe<AB, E, detail::side_by_side(of_left, of_right)>(
            detail::picking<AB, E>(node::form::choose, "choose", {f.graph(), g.graph()}),
            detail::make_model<AB, E>([f = f.meaning(), g = g.meaning()](listed<AB> in) {
                const auto put = [](auto side, auto&& value, std::vector<E>& out) {
                    out.emplace_back(side, std::forward<decltype(value)>(value));
                };
                return detail::model_choice<E, A, B, C, D>(f, g, put, std::move(in));
            }));
    }};
}

/// One pipeline for the left elements, one for the right ones, with results of one type.
template <combinator P, combinator Q>
auto merge(const P& left, const Q& right) {
    return untyped{[left, right]<typename AB>() {
        static_assert(detail::is_either<AB>, "merge takes elements that are an either");
        using A = std::variant_alternative_t<0, AB>;
        using B = std::variant_alternative_t<1, AB>;
        const auto& f = left.template of<A>();
        const auto& g = right.template of<B>();
        using C = typename std::decay_t<decltype(f)>::result;
        static_assert(std::same_as<C, typename std::decay_t<decltype(g)>::result>,
                      "both sides of a merge give elements of one type");
        constexpr traits of_left = std::decay_t<decltype(f)>::kept;
        constexpr traits of_right = std::decay_t<decltype(g)>::kept;
        static_assert(detail::check_choice<of_left, of_right>());
        return detail::make_pipe<AB, C, detail::side_by_side(of_left, of_right)>(
            detail::picking<AB, C>(node::form::merge, "merge", {f.graph(), g.graph()}),
            detail::make_model<AB, C>([f = f.meaning(), g = g.meaning()](listed<AB> in) {
                const auto put = [](auto, C&& value, std::vector<C>& out) {
                    out.push_back(std::move(value));
                };
                return detail::model_choice<C, A, B, C, C>(f, g, put, std::move(in));
            }));
    }};
}

/// N copies of a pipeline; element i goes to copy (i / block) % N. Copy k runs on shard
/// (base + k) mod shards: of two, the even elements on one core and the odd ones on the other.
/// block    elements that go to a copy in a row, 1..max_capacity: more share cache lines less
/// fails    weir::error malformed if block is none of those
template <std::size_t N, combinator P>
auto shard(const P& what, std::size_t block = 1) {
    static_assert(N >= 1 && N <= 256, "1 to 256 copies");
    detail::check_range("shard", "block", block, max_capacity);
    return untyped{[what, block]<typename A>() {
        const auto& f = what.template of<A>();
        using B = typename std::decay_t<decltype(f)>::result;
        constexpr traits kept = std::decay_t<decltype(f)>::kept;
        static_assert(detail::check_sharded<kept>());
        static_assert(!kept.stateful,
                      "state: each copy would see only some of the elements; shard by key");
        node graph = detail::picking<A, B>(node::form::shard, "shard", {f.graph()});
        graph.deal = {N, block};
        auto whole = detail::make_pipe<A, B, kept>(std::move(graph), f.meaning());
        if constexpr (detail::is_visible<std::decay_t<decltype(f)>>) {
            return visible_pipe(std::move(whole), detail::shard_step(f.step()));
        } else {
            return whole;
        }
    }};
}

/// N copies of a pipeline, each with its own state; `key(element) % N` says which one an element
/// goes to. What has the same key meets the same state.
template <std::size_t N, typename Key, combinator P>
auto shard_by(Key key, const P& what) {
    static_assert(N >= 1 && N <= 256, "1 to 256 copies");
    return untyped{[key, what]<typename A>() {
        static_assert(std::is_invocable_r_v<std::size_t, Key&, ref<A>>,
                      "the key of an element is an unsigned number");
        static_assert(detail::check_pairs<A, Key>());
        const auto& f = what.template of<A>();
        using B = typename std::decay_t<decltype(f)>::result;
        constexpr traits kept = std::decay_t<decltype(f)>::kept;
        static_assert(detail::check_sharded<kept>());
        auto tag_of = [key](ref<A> element) mutable {
            return static_cast<tag>(static_cast<std::size_t>(key(element)) % N);
        };
        node graph = detail::picking<A, B>(node::form::key_shard, "key", {f.graph()});
        graph.deal = {N, 1};
        graph.make = [tag_of] {
            using step = detail::map_step<tag, std::decay_t<decltype(tag_of)>>;
            return std::make_unique<detail::step_kernel<A, tag, step>>(step(tag_of));
        };
        return detail::make_pipe<A, B, kept>(
            std::move(graph), detail::make_model<A, B>([f = f.meaning(), tag_of](listed<A> in) {
                return detail::model_key_shard<A, B>(f, tag_of, N, std::move(in));
            }));
    }};
}

/// Feeds the second half of what a pipeline gives back to it: element i goes in together with
/// what came of element i - k, where k is the number of initial values, which come first. The
/// pipeline works on up to k elements at a time.
template <typename S, combinator P>
auto loop(std::vector<S> initial, const P& what) {
    WEIR_ASSERT(!initial.empty());
    return untyped{[initial, what]<typename A>() {
        const auto& f = what.template of<std::pair<A, S>>();
        using R = typename std::decay_t<decltype(f)>::result;
        static_assert(detail::feeds_back<R, S>,
                      "a loop's pipeline gives pairs whose second half is what it is fed");
        using B = typename R::first_type;
        constexpr traits kept = std::decay_t<decltype(f)>::kept;
        static_assert(kept.yields == rate::one && kept.ordered,
                      "rate: a loop's pipeline gives one element for each, in order");
        node graph = detail::shaped<A, B>(node::form::loop, "loop", {f.graph()});
        graph.initial = detail::hold(initial);
        graph.copied = &type_of<S>();
        graph.make = [] {
            return std::make_unique<detail::step_kernel<S, S, detail::id_step>>(detail::id_step());
        };
        return detail::make_pipe<A, B, traits{.stateful = true}>(
            std::move(graph), detail::make_model<A, B>([f = f.meaning(), initial](listed<A> in) {
                return detail::model_loop<A, B, S>(f, initial, std::move(in));
            }));
    }};
}

}  // namespace weir::pipeline
