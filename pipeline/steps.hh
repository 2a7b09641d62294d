// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/pipeline/element.hh>

// What words do to one element, as values that the compiler sees through: steps in sequence are
// one loop, whose elements stay in registers. step(element, emit) calls emit(result) for what
// comes of an element, step.finish(emit) for what was kept until the end. A result is a value,
// or a reference to what passes through as it came.
namespace weir::pipeline::detail {

/// A result as functions see it.
template <typename B, typename Given>
decltype(auto) seen(const Given& given) noexcept {
    if constexpr (std::same_as<Given, B>) {
        return shape<B>::as_ref(given);
    } else {
        return given;  // a ref<B>
    }
}

/// A result to keep: a value moves, what passes through is copied.
template <typename B, typename Given>
B kept(Given&& given) {
    if constexpr (std::same_as<Given, B>) {
        return std::forward<Given>(given);
    } else {
        return shape<B>::copy(seen<B>(given));
    }
}

/// What most steps are.
struct plain_step {
    static constexpr bool linear = true;         ///< one after the other, nothing side by side
    static constexpr bool gives_at_end = false;  ///< and nothing before
    template <typename Emit>
    void finish(const Emit& /*emit*/) {}
};

struct id_step : plain_step {
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        emit(element);
    }
};

template <typename B, typename Function>
struct map_step : plain_step {
    explicit map_step(Function of) : function(std::move(of)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        emit(B(function(element)));
    }
    Function function;
};

template <typename Predicate>
struct filter_step : plain_step {
    explicit filter_step(Predicate of) : keep(std::move(of)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        if (keep(element)) {
            emit(element);
        }
    }
    Predicate keep;
};

/// A function that may give nothing.
template <typename B, typename Function>
struct sift_step : plain_step {
    explicit sift_step(Function of) : function(std::move(of)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        if (std::optional<B> made = function(element)) {
            emit(std::move(*made));
        }
    }
    Function function;
};

template <typename S, typename B, typename Function>
struct fold_step : plain_step {
    fold_step(S initial, Function of) : state(std::move(initial)), function(std::move(of)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        emit(B(function(state, element)));
    }
    S state;
    Function function;
};

template <typename S, typename Function>
struct reduce_step {
    static constexpr bool linear = true;
    static constexpr bool gives_at_end = true;
    reduce_step(S initial, Function of) : state(std::move(initial)), function(std::move(of)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& /*emit*/) {
        function(state, element);
    }
    template <typename Emit>
    void finish(const Emit& emit) {
        emit(std::move(state));
    }
    S state;
    Function function;
};

/// First one, then the other; elements B between them.
template <typename B, typename First, typename Second>
struct sequence_step {
    static constexpr bool linear = First::linear && Second::linear;
    static constexpr bool gives_at_end = First::gives_at_end || Second::gives_at_end;
    sequence_step(First f, Second s) : first(std::move(f)), second(std::move(s)) {}
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        first(element, on(emit));
    }
    template <typename Emit>
    void finish(const Emit& emit) {
        first.finish(on(emit));
        second.finish(emit);
    }
    template <typename Emit>
    auto on(const Emit& emit) {
        return [this, &emit](auto&& middle) { second(seen<B>(middle), emit); };
    }
    First first;
    Second second;
};

/// Both halves of what comes out are there at once, so nothing has to hold one of them.
template <typename B, typename C, typename First, typename Second>
struct pair_step {
    static constexpr bool linear = false;
    static constexpr bool gives_at_end = First::gives_at_end;
    pair_step(First f, Second s) : first(std::move(f)), second(std::move(s)) {}
    template <typename Left, typename Right, typename Emit>
    void each(const Left& left, const Right& right, const Emit& emit) {
        const auto nothing = [](auto&&) {};
        if constexpr (gives_at_end) {
            first(left, nothing);
            second(right, nothing);
        } else {
            first(left, [&](auto&& one) {
                second(right, [&](auto&& other) {
                    emit(ref<std::pair<B, C>>(seen<B>(one), seen<C>(other)));
                });
            });
        }
    }
    template <typename Emit>
    void finish(const Emit& emit) {
        first.finish([&](auto&& one) {
            second.finish(
                [&](auto&& other) { emit(ref<std::pair<B, C>>(seen<B>(one), seen<C>(other))); });
        });
    }
    First first;
    Second second;
};

template <typename B, typename C, typename First, typename Second>
struct fanout_step : pair_step<B, C, First, Second> {
    using pair_step<B, C, First, Second>::pair_step;
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        this->each(element, element, emit);
    }
};

template <typename B, typename C, typename First, typename Second>
struct both_step : pair_step<B, C, First, Second> {
    using pair_step<B, C, First, Second>::pair_step;
    template <typename Element, typename Emit>
    void operator()(const Element& element, const Emit& emit) {
        this->each(element.first, element.second, emit);
    }
};

/// Copies that are not spread out do what one of them does: they have no state.
template <typename Step>
struct shard_step : Step {
    static constexpr bool linear = false;
    explicit shard_step(Step of) : Step(std::move(of)) {}
};

}  // namespace weir::pipeline::detail
