// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <utility>

#include <weir/pipeline/graph.hh>
#include <weir/pipeline/kernels.hh>
#include <weir/pipeline/model.hh>

namespace weir::pipeline {

/// What a pipeline keeps of its input, known when it is compiled: what would break the law that a
/// deployed pipeline gives what its model gives must not compile.
struct traits {
    rate yields = rate::one;
    bool ordered = true;    ///< elements come out in the order of what they were made of
    bool stateful = false;  ///< what comes out depends on what went in before
};

/// A described pipeline from elements A to elements B: its graph, and what it means for lists.
/// Copies share both.
/// thread   any; nothing of it ever changes
template <typename A, typename B, traits T = traits{}>
class pipe_of {
  public:
    using input = A;
    using result = B;
    static constexpr traits kept = T;

    pipe_of(node_ptr graph, detail::model_ptr<A, B> meaning)
        : _graph(std::move(graph)), _meaning(std::move(meaning)) {}

    const node_ptr& graph() const noexcept { return _graph; }
    const detail::model_ptr<A, B>& meaning() const noexcept { return _meaning; }

    /// A pipe is a combinator for one type of elements.
    template <typename In>
    const pipe_of& of() const {
        static_assert(std::same_as<In, A>,
                      "the element types of two pipelines that follow one another differ");
        return *this;
    }

    /// The same meaning, of another graph.
    pipe_of with(node_ptr graph) const { return {std::move(graph), _meaning}; }

  private:
    node_ptr _graph;
    detail::model_ptr<A, B> _meaning;
};

/// A pipe whose type says what it does to each element: see steps.hh. It is a pipe like any other;
/// what is visible on both sides of a >> can run as one loop.
template <typename A, typename B, traits T, typename Step>
class visible_pipe : public pipe_of<A, B, T> {
  public:
    visible_pipe(pipe_of<A, B, T> whole, Step step)
        : pipe_of<A, B, T>(std::move(whole)), _step(std::move(step)) {}

    const Step& step() const noexcept { return _step; }
    template <typename In>
    const visible_pipe& of() const {
        pipe_of<A, B, T>::template of<In>();
        return *this;
    }
    visible_pipe with(node_ptr graph) const {
        return {pipe_of<A, B, T>::with(std::move(graph)), _step};
    }

  private:
    Step _step;
};

/// A pipeline whose element type is not known yet: `make.operator()<A>()` gives the pipe.
template <typename Make>
struct untyped {
    Make make;

    template <typename A>
    auto of() const {
        return make.template operator()<A>();
    }
};
template <typename Make>
untyped(Make) -> untyped<Make>;

namespace detail {
template <typename>
inline constexpr bool is_pipe = false;
template <typename A, typename B, traits T>
inline constexpr bool is_pipe<pipe_of<A, B, T>> = true;
template <typename>
inline constexpr bool is_visible = false;
template <typename A, typename B, traits T, typename Step>
inline constexpr bool is_visible<visible_pipe<A, B, T, Step>> = true;
template <typename>
inline constexpr bool is_untyped = false;
template <typename Make>
inline constexpr bool is_untyped<untyped<Make>> = true;
}  // namespace detail

/// What can stand in a pipeline: a pipe, or something that becomes one once its input is known.
template <typename P>
concept combinator = detail::is_pipe<P> || detail::is_visible<P> || detail::is_untyped<P>;

/// The pipe that a combinator is for elements of type A.
template <typename A, combinator P>
auto describe(const P& described) {
    return described.template of<A>();
}

/// Applies what a pipeline means to a list, one stage after the other.
/// returns  the elements that come out, and the failure in place of the next one if there is one
template <typename A, typename B, traits T>
future<listed<B>> model(pipe_of<A, B, T> of, std::vector<A> elements) {
    co_return co_await (*of.meaning())(listed<A>{std::move(elements), nullptr});
}

namespace detail {

constexpr traits in_sequence(traits first, traits second) {
    return {second.yields == rate::one    ? first.yields
            : second.yields == rate::once ? rate::once
                                          : rate::any,
            first.ordered && second.ordered, first.stateful || second.stateful};
}
constexpr traits side_by_side(traits first, traits second) {
    return {first.yields, true, first.stateful || second.stateful};
}

template <typename A, typename B, traits S, typename C, traits T>
auto sequence_of(const pipe_of<A, B, S>& first, const pipe_of<B, C, T>& second, node graph = {}) {
    graph.kind = node::form::sequence;
    graph.in = &type_of<A>();
    graph.out = &type_of<C>();
    graph.of = {first.graph(), second.graph()};
    return pipe_of<A, C, in_sequence(S, T)>(
        std::make_shared<const node>(std::move(graph)),
        make_model<A, C>([f = first.meaning(), g = second.meaning()](listed<A> in) {
            return model_sequence<A, B, C>(f, g, std::move(in));
        }));
}

template <typename A, typename B, traits S, typename F, typename C, traits T, typename G>
auto steps_in_sequence(const visible_pipe<A, B, S, F>& first,
                       const visible_pipe<B, C, T, G>& second) {
    using step = sequence_step<B, F, G>;
    const step both(first.step(), second.step());
    node graph;
    if constexpr (step::linear) {
        graph.make = [both] { return std::make_unique<step_kernel<A, C, step>>(both); };
        graph.fuses = true;
        graph.holds = first.graph()->holds || second.graph()->holds;
    }
    const pipe_of<A, B, S>& f = first;
    const pipe_of<B, C, T>& g = second;
    return visible_pipe(sequence_of(f, g, std::move(graph)), both);
}

template <typename A, typename B, traits S, typename F, typename C, traits T, typename G>
auto sequence_of(const visible_pipe<A, B, S, F>& first, const visible_pipe<B, C, T, G>& second) {
    if constexpr (std::same_as<F, id_step>) {
        return second;
    } else if constexpr (std::same_as<G, id_step>) {
        return first;
    } else {
        return steps_in_sequence(first, second);
    }
}

}  // namespace detail

/// First one, then the other.
template <combinator P, combinator Q>
auto operator>>(const P& first, const Q& second) {
    if constexpr (!detail::is_untyped<P>) {
        return detail::sequence_of(first, second.template of<typename P::result>());
    } else {
        return untyped{[first, second]<typename A>() { return first.template of<A>() >> second; }};
    }
}

}  // namespace weir::pipeline
