// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <functional>
#include <limits>
#include <ranges>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <weir/core/future.hh>
#include <weir/pipeline/checks.hh>
#include <weir/pipeline/kernels.hh>
#include <weir/pipeline/pipe.hh>

// The words that pipelines are described with. Each builds one node of the graph, with a kernel
// where it works, and says what it means for lists.
namespace weir::pipeline {

namespace detail {

/// Looks at a number that a pipeline is described with.
/// word     the one that it belongs to
/// fails    weir::error malformed unless it is 1..most
void check_range(std::string_view word, std::string_view what, std::size_t value, std::size_t most);

template <typename A, typename Function>
using given = std::decay_t<std::invoke_result_t<Function&, ref<A>>>;

template <typename A, typename Function>
constexpr bool check_pairs() {
    static_assert(!refers_to_copy<A, Function>(),
                  "pairs: the function takes a reference to a pair of values, so each element "
                  "would be copied: pairs come as pairs of references, take const auto& or "
                  "const ref<T>&");
    return true;
}

template <typename A, typename Function>
constexpr auto check_takes() {
    static_assert(
        requires(Function& function, const ref<A>& element) { function(element); },
        "the function does not take the elements that come here: it gets const "
        "references (a pair or variant of them)");
    static_assert(!std::is_void_v<std::invoke_result_t<Function&, ref<A>>>,
                  "the function returns nothing: what a stage gives are elements (for_each is a "
                  "sink, unit an element that says nothing)");
    static_assert(check_pairs<A, Function>());
    static_assert(std::copy_constructible<Function>,
                  "the function must be copyable: each copy of a stage has its own");
    return true;
}

template <typename A, typename B>
node work(std::string name) {
    return node{.kind = node::form::work,
                .name = std::move(name),
                .in = &type_of<A>(),
                .out = &type_of<B>(),
                .fuses = true};
}

template <typename A, typename B, traits T>
pipe_of<A, B, T> make_pipe(node graph, model_ptr<A, B> meaning) {
    return {std::make_shared<const node>(std::move(graph)), std::move(meaning)};
}

/// A stage of one step.
template <typename A, typename B, traits T, typename Step>
auto make_stepped(node graph, const Step& step, model_ptr<A, B> meaning) {
    graph.make = [step] { return std::make_unique<step_kernel<A, B, Step>>(step); };
    return visible_pipe(make_pipe<A, B, T>(std::move(graph), std::move(meaning)), step);
}

template <typename A, typename B, typename Step>
model_ptr<A, B> model_steps(Step step) {
    // Each run over a list begins with the state as it was described.
    return make_model<A, B>([step](listed<A> in) {
        return make_ready_future<listed<B>>(for_each_listed<B>(in, step));
    });
}

// The words for a stage that calls a function for each element, by that function: what the words
// of policies.hh wrap.

template <typename Function>
struct map_word {
    Function function;
    std::string name = "map";

    template <typename A>
    auto of() const {
        static_assert(check_takes<A, Function>());
        using B = given<A, Function>;
        static_assert(!weir::detail::is_future<B>::value,
                      "the function returns a future: use map_async");
        static_assert(check_result<A, B>());
        return make_stepped<A, B, traits{}>(
            work<A, B>(name), map_step<B, Function>(function),
            model_steps<A, B>([function = function](ref<A> element, std::vector<B>& out) mutable {
                out.push_back(B(function(element)));
            }));
    }
};

template <typename S, typename Function>
struct fold_word {
    S initial;
    Function function;
    std::string name = "fold";

    template <typename A>
    auto of() const {
        static_assert(std::is_invocable_v<Function&, S&, ref<A>>,
                      "the function of a fold takes a reference to the state and an element");
        static_assert(check_pairs<A, Function>());
        using B = std::decay_t<std::invoke_result_t<Function&, S&, ref<A>>>;
        static_assert(check_result<A, B>());
        return make_stepped<A, B, traits{.stateful = true}>(
            work<A, B>(name), fold_step<S, B, Function>(initial, function),
            model_steps<A, B>([state = initial, function = function](ref<A> element,
                                                                     std::vector<B>& out) mutable {
                out.push_back(B(function(state, element)));
            }));
    }
};

template <typename Predicate>
struct filter_word {
    Predicate keep;
    std::string name = "filter";

    template <typename A>
    auto of() const {
        static_assert(check_takes<A, Predicate>());
        static_assert(std::predicate<Predicate&, ref<A>>, "a filter's function returns a bool");
        static_assert(std::copy_constructible<A>,
                      "copies: a filter gives copies of the elements that it keeps");
        return make_stepped<A, A, traits{.yields = rate::any}>(
            work<A, A>(name), filter_step<Predicate>(keep),
            model_steps<A, A>([keep = keep](ref<A> element, std::vector<A>& out) mutable {
                if (keep(element)) {
                    out.push_back(shape<A>::copy(element));
                }
            }));
    }
};

template <typename Function, bool Ordered>
struct async_word {
    std::size_t window;
    Function function;
    std::string name;

    template <typename A>
    auto of() const {
        if constexpr (!std::is_invocable_v<Function&, ref<A>, abort_source&>) {
            static_assert(check_takes<A, Function>());
        }
        using F = typename begun<Function, ref<A>>::type;
        static_assert(weir::detail::is_future<F>::value,
                      "the function of a map_async returns a future");
        static_assert(!std::is_same_v<F, future<>>,
                      "the future gives nothing: a stage gives elements; return a future<unit>");
        using B = typename F::value_type;
        static_assert(check_result<A, B>());
        node graph = work<A, B>(name);
        graph.kind = node::form::async;
        graph.fuses = false;
        graph.window = window;
        graph.ordered = Ordered;
        graph.make_async = [function = function, window = window] {
            return std::make_unique<map_async_kernel<A, B, Function>>(function, window);
        };
        return make_pipe<A, B, traits{.ordered = Ordered}>(
            std::move(graph), make_model<A, B>([function = function](listed<A> in) {
                return model_async<A, B>(function, std::move(in));
            }));
    }
};

template <typename>
inline constexpr bool is_stage_word = false;
template <typename Function>
inline constexpr bool is_stage_word<map_word<Function>> = true;
template <typename S, typename Function>
inline constexpr bool is_stage_word<fold_word<S, Function>> = true;
template <typename Predicate>
inline constexpr bool is_stage_word<filter_word<Predicate>> = true;
template <typename Function, bool Ordered>
inline constexpr bool is_stage_word<async_word<Function, Ordered>> = true;
template <typename Word>
    requires is_stage_word<Word>
inline constexpr bool is_untyped<Word> = true;

}  // namespace detail

/// Elements as they come.
inline auto id() {
    return untyped{[]<typename A>() {
        return visible_pipe(
            detail::make_pipe<A, A, traits{}>(
                node{.kind = node::form::id, .in = &type_of<A>(), .out = &type_of<A>()},
                detail::make_model<A, A>(
                    [](listed<A> in) { return make_ready_future<listed<A>>(std::move(in)); })),
            detail::id_step());
    }};
}

/// `function` of each element. It must not depend on what it was called with before: see fold.
template <typename Function>
auto map(Function function) {
    return detail::map_word<Function>{std::move(function)};
}

/// What `function(state, element)` returns for each element; it changes the state.
template <typename S, typename Function>
auto fold(S initial, Function function) {
    return detail::fold_word<S, Function>{std::move(initial), std::move(function)};
}

/// The state after `function(state, element)` was called with every element: one element, at the
/// end, for an empty input too.
template <typename S, typename Function>
auto reduce(S initial, Function function) {
    return untyped{[initial, function]<typename A>() {
        static_assert(std::is_invocable_v<Function&, S&, ref<A>>,
                      "the function of a reduce takes a reference to the state and an element");
        static_assert(detail::check_pairs<A, Function>());
        node graph = detail::work<A, S>("reduce");
        graph.holds = true;
        return detail::make_stepped<A, S, traits{.yields = rate::once, .stateful = true}>(
            std::move(graph), detail::reduce_step<S, Function>(initial, function),
            detail::make_model<A, S>([initial, function](listed<A> in) {
                auto state = std::make_shared<S>(initial);
                auto out = detail::for_each_listed<S>(
                    in, [function, state](ref<A> element, std::vector<S>&) mutable {
                        function(*state, element);
                    });
                if (!out.failure) {
                    out.values.push_back(std::move(*state));
                }
                return make_ready_future<listed<S>>(std::move(out));
            }));
    }};
}

/// The elements for which `keep` is true.
template <typename Predicate>
auto filter(Predicate keep) {
    return detail::filter_word<Predicate>{std::move(keep)};
}

/// The elements of the range that `function` makes of each element. The range may be longer than
/// any ring, and may look into the element, which stays until the range ends; what a container
/// gives is moved out of it.
template <typename Function>
auto flat_map(Function function) {
    return untyped{[function]<typename A>() {
        static_assert(detail::check_takes<A, Function>());
        using range = detail::given<A, Function>;
        static_assert(std::ranges::input_range<range>, "a flat_map's function returns a range");
        using B = std::ranges::range_value_t<range>;
        static_assert(detail::check_result<A, B>());
        node graph = detail::work<A, B>("flat_map");
        graph.fuses = false;
        graph.make = [function] {
            return std::make_unique<detail::flat_map_kernel<A, B, Function>>(function);
        };
        return detail::make_pipe<A, B, traits{.yields = rate::any}>(
            std::move(graph),
            detail::model_steps<A, B>([function](ref<A> element, std::vector<B>& out) mutable {
                auto made = function(element);
                for (auto at = std::ranges::begin(made); at != std::ranges::end(made); ++at) {
                    out.push_back(detail::taken_out<range>(at));
                }
            }));
    }};
}

/// Vectors of `size` elements; the last may be shorter.
/// fails    weir::error malformed if size is 0
inline auto window(std::size_t size) {
    detail::check_range("window", "size", size, std::numeric_limits<std::size_t>::max());
    return untyped{[size]<typename A>() {
        static_assert(std::copy_constructible<A>, "copies: a window holds copies of its elements");
        using B = std::vector<A>;
        node graph = detail::work<A, B>("window");
        graph.holds = true;
        graph.make = [size] { return std::make_unique<detail::window_kernel<A>>(size); };
        return detail::make_pipe<A, B, traits{.yields = rate::any, .stateful = true}>(
            std::move(graph), detail::make_model<A, B>([size](listed<A> in) {
                listed<B> out{{}, in.failure};
                for (std::size_t i = 0; i < in.values.size(); ++i) {
                    if (i % size == 0 && (in.values.size() - i >= size || !in.failure)) {
                        out.values.emplace_back();
                    }
                    if (i / size < out.values.size()) {
                        out.values.back().push_back(std::move(in.values[i]));
                    }
                }
                return make_ready_future<listed<B>>(std::move(out));
            }));
    }};
}

/// What the futures of `function` give, in the order of the elements, with up to `window` of them
/// under way, and no more than the rings have room for.
/// function  of an element, and if it wants one of an abort_source& by which deployment::abort()
///          tells it to end
/// window   1..max_batch
/// fails    weir::error malformed if window is none of those
template <typename Function>
auto map_async(std::size_t window, Function function) {
    detail::check_range("map_async", "window", window, max_batch);
    return detail::async_word<Function, true>{window, std::move(function), "map_async"};
}

/// As map_async, but results come as soon as they are there: an element that takes long holds
/// nobody up.
template <typename Function>
auto map_unordered(std::size_t window, Function function) {
    detail::check_range("map_unordered", "window", window, max_batch);
    return detail::async_word<Function, false>{window, std::move(function), "map_unordered"};
}

/// The same pipeline under a name of its own, for pictures and for placement. One stage gets the
/// name. Anything else becomes a group: its stages are called "name/map", with what they are
/// called without it behind the name, and what is placed by the name is all of them.
template <combinator P>
auto named(std::string name, const P& what) {
    if constexpr (!detail::is_untyped<P>) {
        node graph = *what.graph();
        if (graph.kind != node::form::work && graph.kind != node::form::async) {
            graph = {.kind = node::form::group,
                     .in = graph.in,
                     .out = graph.out,
                     .of = {what.graph()},
                     .holds = graph.holds};
        }
        graph.name = std::move(name);
        return what.with(std::make_shared<const node>(std::move(graph)));
    } else if constexpr (detail::is_stage_word<P>) {
        P renamed = what;
        renamed.name = std::move(name);
        return renamed;
    } else {
        return untyped{[name, what]<typename A>() { return named(name, what.template of<A>()); }};
    }
}

}  // namespace weir::pipeline
