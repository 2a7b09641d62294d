// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/pipeline/lane.hh>
#include <weir/pipeline/printer.hh>

namespace weir::pipeline {

/// An element that says nothing but that it is there.
struct unit {
    friend bool operator==(const unit&, const unit&) = default;
};

/// One of two: what choose and merge take apart.
template <typename A, typename B>
using either = std::variant<A, B>;

/// Of an element that is no pair or either, as it lies in a ring.
inline constexpr std::size_t element_bytes_max = std::size_t{256} << 10;

/// The memory that one column needs.
struct column_type {
    std::size_t size;
    std::size_t alignment;
};

/// How elements of type T lie in columns. A pair has the columns of both halves, an either a
/// column of tags and then those of both sides, of which one is used; anything else has one.
/// Functions see elements as ref: const references, pairs and variants of them.
template <typename T>
struct shape {
    static_assert(std::is_object_v<T> && !std::is_const_v<T>,
                  "an element is a plain value: no reference, not const, not void (use unit)");
    static_assert(std::is_nothrow_move_constructible_v<T>,
                  "an element must move without failing: wrap it in a unique_ptr");
    static_assert(sizeof(T) <= element_bytes_max,  // NOLINT(bugprone-sizeof-expression): likewise
                  "an element lies on the stack, more than once: wrap a large one in a unique_ptr");
    static constexpr bool leaf = true;
    static constexpr bool trivial = std::is_trivially_destructible_v<T>;
    static constexpr std::size_t columns = 1;
    using ref = const T&;
    using held = std::reference_wrapper<const T>;

    static constexpr void describe(column_type* into) noexcept {
        *into = {sizeof(T), alignof(T)};  // NOLINT(bugprone-sizeof-expression): or a pointer's
    }
    static ref load(const lane* from, std::size_t i) noexcept {
        return *reinterpret_cast<const T*>(from->at(i));
    }
    static ref load(const dense_lane* from, std::size_t i) noexcept {
        return reinterpret_cast<const T*>(from->base)[i];
    }
    static void store(const slot_lane* to, std::size_t i, T&& value) noexcept {
        std::construct_at(reinterpret_cast<T*>(to->base) + i, std::move(value));
    }
    static void destroy(const slot_lane* at, std::size_t i) noexcept {
        std::destroy_at(reinterpret_cast<T*>(at->at(i)));
    }
    static void print(const lane* from, std::size_t i, std::string& into) {
        printer<T>::print(load(from, i), into);
    }
    static T copy(ref value) { return value; }
    static ref as_ref(const T& value) noexcept { return value; }
    static ref as_ref(const T&& value) = delete;  // it would be gone
};

template <typename T>
using ref = typename shape<T>::ref;

template <typename A, typename B>
struct shape<std::pair<A, B>> {
    static constexpr bool leaf = false;
    static constexpr bool trivial = shape<A>::trivial && shape<B>::trivial;
    static constexpr std::size_t columns = shape<A>::columns + shape<B>::columns;
    using ref = std::pair<typename shape<A>::ref, typename shape<B>::ref>;
    using held = ref;

    static constexpr void describe(column_type* into) noexcept {
        shape<A>::describe(into);
        shape<B>::describe(into + shape<A>::columns);
    }
    template <typename Lane>
    static ref load(const Lane* from, std::size_t i) noexcept {
        return {shape<A>::load(from, i), shape<B>::load(from + shape<A>::columns, i)};
    }
    static void store(const slot_lane* to, std::size_t i, std::pair<A, B>&& value) noexcept {
        shape<A>::store(to, i, std::move(value.first));
        shape<B>::store(to + shape<A>::columns, i, std::move(value.second));
    }
    static void destroy(const slot_lane* at, std::size_t i) noexcept {
        shape<A>::destroy(at, i);
        shape<B>::destroy(at + shape<A>::columns, i);
    }
    static void print(const lane* from, std::size_t i, std::string& into) {
        into += '(';
        shape<A>::print(from, i, into);
        into += ", ";
        shape<B>::print(from + shape<A>::columns, i, into);
        into += ')';
    }
    static std::pair<A, B> copy(const ref& value) {
        return {shape<A>::copy(value.first), shape<B>::copy(value.second)};
    }
    static ref as_ref(const std::pair<A, B>& value) noexcept {
        return {shape<A>::as_ref(value.first), shape<B>::as_ref(value.second)};
    }
};

/// The first column of an either, and what key shards are told apart by.
using tag = std::uint8_t;

template <typename A, typename B>
struct shape<std::variant<A, B>> {
    static constexpr bool leaf = false;
    static constexpr bool trivial = shape<A>::trivial && shape<B>::trivial;
    static constexpr std::size_t left = 1;
    static constexpr std::size_t right = left + shape<A>::columns;
    static constexpr std::size_t columns = right + shape<B>::columns;
    using ref = std::variant<typename shape<A>::held, typename shape<B>::held>;
    using held = ref;

    static constexpr void describe(column_type* into) noexcept {
        shape<tag>::describe(into);
        shape<A>::describe(into + left);
        shape<B>::describe(into + right);
    }
    template <typename Lane>
    static ref load(const Lane* from, std::size_t i) noexcept {
        if (shape<tag>::load(from, i) == 0) {
            return ref(std::in_place_index<0>, shape<A>::load(from + left, i));
        }
        return ref(std::in_place_index<1>, shape<B>::load(from + right, i));
    }
    static void store(const slot_lane* to, std::size_t i, std::variant<A, B>&& value) noexcept {
        shape<tag>::store(to, i, static_cast<tag>(value.index()));
        if (value.index() == 0) {
            shape<A>::store(to + left, i, std::move(*std::get_if<0>(&value)));
        } else {
            shape<B>::store(to + right, i, std::move(*std::get_if<1>(&value)));
        }
    }
    static void destroy(const slot_lane* at, std::size_t i) noexcept {
        if (*reinterpret_cast<const tag*>(at->at(i)) == 0) {
            shape<A>::destroy(at + left, i);
        } else {
            shape<B>::destroy(at + right, i);
        }
    }
    static void print(const lane* from, std::size_t i, std::string& into) {
        if (shape<tag>::load(from, i) == 0) {
            into += "left ";
            shape<A>::print(from + left, i, into);
        } else {
            into += "right ";
            shape<B>::print(from + right, i, into);
        }
    }
    static std::variant<A, B> copy(const ref& value) {
        if (value.index() == 0) {
            return std::variant<A, B>(std::in_place_index<0>, shape<A>::copy(std::get<0>(value)));
        }
        return std::variant<A, B>(std::in_place_index<1>, shape<B>::copy(std::get<1>(value)));
    }
    static ref as_ref(const std::variant<A, B>& value) noexcept {
        if (value.index() == 0) {
            return ref(std::in_place_index<0>, shape<A>::as_ref(*std::get_if<0>(&value)));
        }
        return ref(std::in_place_index<1>, shape<B>::as_ref(*std::get_if<1>(&value)));
    }
};

/// An element type without its type: what rings and pictures need of it.
struct element_type {
    std::span<const column_type> columns;
    /// Ends the life of `count` elements; null where there is nothing to do.
    void (*destroy)(const slot_lane* at, std::size_t count) noexcept;
    /// Appends what element `i` looks like to people who watch: see printer.
    void (*print)(const lane* from, std::size_t i, std::string& into);
};

/// The columns of T.
template <typename T>
inline constexpr auto column_types = [] {
    std::array<column_type, shape<T>::columns> result{};
    shape<T>::describe(result.data());
    return result;
}();

/// returns  what is known of T, the same object each time
template <typename T>
const element_type& type_of() noexcept {
    static const element_type type{
        column_types<T>,
        shape<T>::trivial ? nullptr : +[](const slot_lane* at, std::size_t count) noexcept {
            for (std::size_t i = 0; i < count; ++i) {
                shape<T>::destroy(at, i);
            }
        },
        &shape<T>::print};
    return type;
}

}  // namespace weir::pipeline
