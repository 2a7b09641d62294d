// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/pipeline/element.hh>

// What a function must not do with the elements that it sees, as far as its type tells.
namespace weir::pipeline::detail {

/// The parameters that a function names; void for one that takes whatever comes.
template <typename Function>
struct parameters {
    using type = void;
};
template <typename Function>
struct parameters_of_call;
template <typename R, typename... Args>
struct parameters<R (*)(Args...)> {
    using type = std::tuple<Args...>;
};
template <typename R, typename... Args>
struct parameters<R (*)(Args...) noexcept> {
    using type = std::tuple<Args...>;
};
template <typename R, typename C, typename... Args>
struct parameters_of_call<R (C::*)(Args...)> : parameters<R (*)(Args...)> {};
template <typename R, typename C, typename... Args>
struct parameters_of_call<R (C::*)(Args...) const> : parameters<R (*)(Args...)> {};
template <typename R, typename C, typename... Args>
struct parameters_of_call<R (C::*)(Args...) noexcept> : parameters<R (*)(Args...)> {};
template <typename R, typename C, typename... Args>
struct parameters_of_call<R (C::*)(Args...) const noexcept> : parameters<R (*)(Args...)> {};
template <typename Function>
    requires requires { &Function::operator(); }
struct parameters<Function> : parameters_of_call<decltype(&Function::operator())> {};
// The words of policies.hh take whatever comes for the function that they wrap.
template <typename Function>
    requires requires(Function wrapping) { wrapping.function; }
struct parameters<Function> : parameters<decltype(Function::function)> {};
template <typename Function>
    requires requires(Function wrapping) { wrapping.keep; }
struct parameters<Function> : parameters<decltype(Function::keep)> {};

template <typename>
inline constexpr bool is_pair_element = false;
template <typename A, typename B>
inline constexpr bool is_pair_element<std::pair<A, B>> = true;

/// Whether the last parameter is a reference to a pair that each element would have to be copied
/// to: a pair of references becomes one of values without a word.
template <typename A, typename Function>
constexpr bool refers_to_copy() {
    using all = typename parameters<Function>::type;
    if constexpr (is_pair_element<A> && !std::is_void_v<all>) {
        if constexpr (std::tuple_size_v<all> != 0) {
            using last = std::tuple_element_t<std::tuple_size_v<all> - 1, all>;
            return std::is_reference_v<last> && !std::same_as<std::remove_cvref_t<last>, ref<A>>;
        }
    }
    return false;
}

/// Whether a value is, or holds, a view: its bytes may lie with somebody else.
template <typename T>
inline constexpr bool looks_elsewhere = std::ranges::borrowed_range<T>;
template <typename T>
    requires(std::ranges::input_range<T> && !std::ranges::borrowed_range<T> &&
             !std::same_as<std::ranges::range_value_t<T>, T>)
inline constexpr bool looks_elsewhere<T> = looks_elsewhere<std::ranges::range_value_t<T>>;
template <typename A, typename B>
inline constexpr bool looks_elsewhere<std::pair<A, B>> = looks_elsewhere<A> || looks_elsewhere<B>;
template <typename... Each>
inline constexpr bool looks_elsewhere<std::tuple<Each...>> = (looks_elsewhere<Each> || ...);
template <typename... Each>
inline constexpr bool looks_elsewhere<std::variant<Each...>> = (looks_elsewhere<Each> || ...);
template <typename T>
inline constexpr bool looks_elsewhere<std::optional<T>> = looks_elsewhere<T>;

/// A result that is a view of an element is read when that element may be gone. A view of what
/// the element itself only looks at stays as good as that.
template <typename A, typename B>
constexpr bool check_result() {
    static_assert(!looks_elsewhere<B> || looks_elsewhere<A>,
                  "views: the function gives a view, such as a std::string_view, and the element "
                  "that it may look into is gone when the view is read: give a value that has its "
                  "own bytes, or a struct around a view of what stays");
    return true;
}

}  // namespace weir::pipeline::detail
