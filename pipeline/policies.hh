// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/shapes.hh>

// What happens when the function of a stage fails. By default the stream ends there, with what
// came before. These words put another function around it, the same for the model and for a
// deployment, so that the law holds for them as for any function. Each wraps one stage, as it was
// described. Those that are missing:
// - flat_map: some of an element may be out already when its range fails; guard a map that makes
//   the range, and flat_map what it gives.
// - reduce: begun anew it would forget without a trace what it took in before; guard what is
//   before it.
// - window: it calls nothing.
namespace weir::pipeline {

namespace detail {

template <typename Function, typename Element>
using called = std::decay_t<std::invoke_result_t<Function&, const Element&>>;

template <typename Function>
struct retried {
    unsigned times;
    Function function;

    template <typename Element>
        requires std::invocable<Function&, const Element&>
    called<Function, Element> operator()(const Element& element) {
        for (unsigned left = times;; --left) {
            try {
                return function(element);
            } catch (...) {
                if (left == 0) {
                    throw;
                }
            }
        }
    }
};

template <typename Function>
struct retried_async {
    unsigned times;
    Function function;

    // `this`, the element and `stop` stay until the future has ended.
    template <typename Element>
        requires begins<Function, Element>
    begun_by<Function, Element> operator()(const Element& element, abort_source& stop) {
        for (unsigned left = times;; --left) {
            try {
                co_return co_await begin_async(function, element, stop);
            } catch (...) {
                if (left == 0 || stop.requested()) {
                    throw;
                }
            }
        }
    }
};

template <typename S, typename Function>
struct restarted {
    S first;
    Function function;

    template <typename Element>
        requires std::invocable<Function&, S&, const Element&>
    auto operator()(S& state, const Element& element)
        -> std::decay_t<std::invoke_result_t<Function&, S&, const Element&>> {
        try {
            return function(state, element);
        } catch (...) {
            state = first;
        }
        return function(state, element);
    }
};

template <typename Letter, typename Element>
void send(Letter& letter, const Element& element, const std::exception_ptr& failure) {
    static_assert(std::is_invocable_v<Letter&, const Element&, const std::exception_ptr&>,
                  "the sink for dead letters takes an element and a std::exception_ptr");
    letter(element, failure);
}

/// Nothing where the function fails.
template <typename Function, typename Letter>
struct skipped {
    Function function;
    Letter letter;

    template <typename Element>
        requires std::invocable<Function&, const Element&>
    std::optional<called<Function, Element>> operator()(const Element& element) {
        try {
            return std::optional<called<Function, Element>>(std::in_place, function(element));
        } catch (...) {
            send(letter, element, std::current_exception());
        }
        return std::nullopt;
    }
};

template <typename Predicate, typename Letter>
struct skipped_filter {
    Predicate keep;
    Letter letter;

    template <typename Element>
        requires std::predicate<Predicate&, const Element&>
    bool operator()(const Element& element) {
        try {
            return keep(element);
        } catch (...) {
            send(letter, element, std::current_exception());
        }
        return false;
    }
};

/// Gives failures as values. What an abort ends is none: it ends the stage.
template <typename Function>
struct attempted {
    Function function;

    // `stop` stays until the future has ended.
    template <typename Element>
        requires begins<Function, Element>
    auto operator()(const Element& element, abort_source& stop) {
        using F = begun_by<Function, Element>;
        using R = either<typename F::value_type, std::exception_ptr>;
        return begin_async(function, element, stop).then_wrapped([&stop](F ended) {
            if (ended.failed() && stop.requested()) {
                std::rethrow_exception(ended.take_failure());
            }
            return ended.failed() ? R(std::in_place_index<1>, ended.take_failure())
                                  : R(std::in_place_index<0>, ended.take());
        });
    }
};

/// As skipped, once the future has ended. What an abort ends is no dead letter.
template <typename Function, typename Letter>
struct skipped_async {
    Function function;
    Letter letter;

    // `this`, the element and `stop` stay until the future has ended.
    template <typename Element>
        requires begins<Function, Element>
    auto operator()(const Element& element, abort_source& stop) {
        using F = begun_by<Function, Element>;
        using R = std::optional<typename F::value_type>;
        return begin_async(function, element, stop).then_wrapped([this, &element, &stop](F ended) {
            if (ended.failed() && !stop.requested()) {
                send(letter, element, ended.take_failure());
                return R();
            }
            return R(std::in_place, ended.take());
        });
    }
};

/// What `function` makes of each element, where that is something.
template <typename Function>
auto sift(std::string name, Function function) {
    return untyped{[name, function]<typename A>() {
        static_assert(check_takes<A, Function>());
        using B = typename given<A, Function>::value_type;
        static_assert(!weir::detail::is_future<B>::value,
                      "the function returns a future: use map_async");
        static_assert(check_result<A, B>());
        return make_stepped<A, B, traits{.yields = rate::any}>(
            work<A, B>(name), sift_step<B, Function>(function),
            model_steps<A, B>([function](ref<A> element, std::vector<B>& out) mutable {
                if (std::optional<B> made = function(element)) {
                    out.push_back(std::move(*made));
                }
            }));
    }};
}

template <typename B>
constexpr bool check_copied() {
    static_assert(std::copy_constructible<B>,
                  "a map_async that skips gives copies of what its futures give");
    return true;
}

/// Opens what attempted put beside its element, in the order of the elements.
template <typename Letter>
auto open_attempts(Letter letter) {
    return untyped{[letter]<typename Attempt>() {
        using B = std::variant_alternative_t<0, typename Attempt::second_type>;
        static_assert(check_copied<B>());
        return sift("skip",
                    [letter](const ref<Attempt>& attempt) mutable {
                        if (attempt.second.index() == 0) {
                            return std::optional<B>(shape<B>::copy(std::get<0>(attempt.second)));
                        }
                        send(letter, attempt.first, std::get<1>(attempt.second).get());
                        return std::optional<B>();
                    })
            .template of<Attempt>();
    }};
}

/// Opens what skipped_async gives.
inline auto open_optionals() {
    return untyped{[]<typename Optional>() {
        static_assert(check_copied<typename Optional::value_type>());
        return sift("skip", [](const Optional& made) { return made; }).template of<Optional>();
    }};
}

template <typename P>
inline constexpr bool is_fold = false;
template <typename S, typename Function>
inline constexpr bool is_fold<fold_word<S, Function>> = true;

}  // namespace detail

/// Calls the function of a stage up to `times` more for an element that it failed at, at once.
/// what     a map, filter, map_async or map_unordered; a future that is tried again keeps its
///          place in the window
template <typename Function>
auto retry(unsigned times, const detail::map_word<Function>& what) {
    using again = detail::retried<Function>;
    return detail::map_word<again>{again{times, what.function}, what.name};
}
template <typename Predicate>
auto retry(unsigned times, const detail::filter_word<Predicate>& what) {
    using again = detail::retried<Predicate>;
    return detail::filter_word<again>{again{times, what.keep}, what.name};
}
template <typename Function, bool Ordered>
auto retry(unsigned times, const detail::async_word<Function, Ordered>& what) {
    using again = detail::retried_async<Function>;
    return detail::async_word<again, Ordered>{what.window, again{times, what.function}, what.name};
}
template <combinator P>
auto retry(unsigned, const P& what) {
    static_assert(!detail::is_fold<P>,
                  "state: what a fold changed before it failed would stay when its element is "
                  "retried; restart begins anew");
    static_assert(detail::is_fold<P>,
                  "one stage: retry goes around a map, filter, map_async or map_unordered, as it "
                  "was described; in a sequence around each, before a flat_map around a map that "
                  "makes its range");
    return what;
}

/// Leaves out the elements that a stage fails at, and gives each to `letter(element, failure)`,
/// the sink for dead letters: in the order of the elements, of a map_unordered in the order of the
/// failures. What the letter throws is the stage's failure. It changes how many elements there are.
/// what     a map, filter, map_async or map_unordered
/// thread   letters are written on the stage's shard, of a map_async on that of "skip"
/// cost     for futures another stage, named "skip", which copies what they give
template <typename Function, typename Letter>
auto skip(const detail::map_word<Function>& what, Letter letter) {
    return detail::sift(what.name,
                        detail::skipped<Function, Letter>{what.function, std::move(letter)});
}
template <typename Predicate, typename Letter>
auto skip(const detail::filter_word<Predicate>& what, Letter letter) {
    using skipping = detail::skipped_filter<Predicate, Letter>;
    return detail::filter_word<skipping>{skipping{what.keep, std::move(letter)}, what.name};
}
template <typename Function, typename Letter>
auto skip(const detail::async_word<Function, true>& what, Letter letter) {
    using attempting = detail::attempted<Function>;
    return fanout(id(),
                  detail::async_word<attempting, true>{what.window, {what.function}, what.name}) >>
           detail::open_attempts(std::move(letter));
}
template <typename Function, typename Letter>
auto skip(const detail::async_word<Function, false>& what, Letter letter) {
    using skipping = detail::skipped_async<Function, Letter>;
    return detail::async_word<skipping, false>{
               what.window, skipping{what.function, std::move(letter)}, what.name} >>
           detail::open_optionals();
}
template <combinator P, typename Letter>
auto skip(const P& what, Letter) {
    static_assert(!detail::is_fold<P>,
                  "state: what a fold changed before it failed would stay when its element is "
                  "skipped; restart begins anew");
    static_assert(detail::is_fold<P>,
                  "one stage: skip goes around a map, filter, map_async or map_unordered, as it "
                  "was described; in a sequence around each, before a flat_map around a map that "
                  "makes its range");
    return what;
}

/// Begins a fold anew, with its first state, at an element that it failed at; if that fails too,
/// the stream ends.
template <typename S, typename Function>
auto restart(const detail::fold_word<S, Function>& what) {
    static_assert(std::is_copy_assignable_v<S>, "restart puts the first state back by assignment");
    using anew = detail::restarted<S, Function>;
    return detail::fold_word<S, anew>{what.initial, anew{what.initial, what.function}, what.name};
}
template <combinator P>
auto restart(const P& what) {
    static_assert(detail::is_fold<P>,
                  "one stage: restart goes around a fold, as it was described; in a sequence "
                  "around each, and what has no state can be retried");
    return what;
}

}  // namespace weir::pipeline
