// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

// What elements look like to people who watch a pipeline.
namespace weir::pipeline {

namespace detail {
void print_number(std::int64_t value, std::string& into);
void print_number(std::uint64_t value, std::string& into);
void print_number(double value, std::string& into);
/// In quotes, cut where it is long.
void print_text(std::string_view text, std::string& into);
}  // namespace detail

/// Says what an element of type T looks like, in a few words. Specialize it for types of your own.
/// thread   the shard of the ring, between two runs of the stage that writes it
template <typename T>
struct printer {
    static void print(const T& value, std::string& into) {
        if constexpr (std::is_same_v<T, bool>) {
            into += value ? "true" : "false";
        } else if constexpr (std::is_floating_point_v<T>) {
            detail::print_number(static_cast<double>(value), into);
        } else if constexpr (std::is_unsigned_v<T>) {
            detail::print_number(static_cast<std::uint64_t>(value), into);
        } else if constexpr (std::is_integral_v<T>) {
            detail::print_number(static_cast<std::int64_t>(value), into);
        } else if constexpr (std::is_class_v<T> &&
                             std::is_convertible_v<const T&, std::string_view>) {
            detail::print_text(value, into);
        } else {
            into += "·";
        }
    }
};

/// The first few elements, and how many there are.
template <typename T>
struct printer<std::vector<T>> {
    static void print(const std::vector<T>& values, std::string& into) {
        constexpr std::size_t shown = 3;
        into += '[';
        for (std::size_t i = 0; i < values.size() && i < shown; ++i) {
            into += i == 0 ? "" : ", ";
            printer<T>::print(values[i], into);
        }
        if (values.size() > shown) {
            into += " … ";
            detail::print_number(static_cast<std::uint64_t>(values.size()), into);
        }
        into += ']';
    }
};

}  // namespace weir::pipeline
