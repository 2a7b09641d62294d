// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>
#include <pipeline/random_pipeline.hh>

#include <weir/core/sleep.hh>
#include <weir/pipeline/combinators.hh>

/// Elements and functions at random, by a salt or a hash: the same whenever they are asked for.
namespace weir::test {

using pipeline::either;
using pipeline::ref;

// The element types: something that is destroyed for nothing, something that owns memory, and
// both ways to put the two together.
using number = std::int64_t;
using text = std::string;
using couple = std::pair<number, text>;
using option = either<number, text>;

inline std::uint64_t mixed(std::uint64_t h) {
    h = (h ^ (h >> 31)) * 0x7fb5d329728ea185;
    return h ^ (h >> 27);
}
inline std::uint64_t hash(number value) {
    return mixed(static_cast<std::uint64_t>(value) + 1);
}
inline std::uint64_t hash(const text& value) {
    std::uint64_t h = value.size();
    for (const char each : value) {
        h = mixed(h * 31 + static_cast<unsigned char>(each));
    }
    return h;
}
template <typename A, typename B>
std::uint64_t hash(const std::pair<A, B>& value) {
    return mixed(hash(value.first) * 3 + hash(value.second));
}
template <typename A, typename B>
std::uint64_t hash(const std::variant<A, B>& value) {
    return value.index() == 0 ? mixed(hash(std::get<0>(value)) + 7)
                              : mixed(hash(std::get<1>(value)) + 11);
}
template <typename T>
std::uint64_t hash(const std::reference_wrapper<const T>& value) {
    return hash(value.get());
}
template <typename T>
std::uint64_t hash(const std::vector<T>& values) {
    std::uint64_t h = values.size();
    for (const T& each : values) {
        h = mixed(h * 31 + hash(each));
    }
    return h;
}

template <typename T>
T made_of(std::uint64_t h) {
    if constexpr (std::is_same_v<T, number>) {
        return static_cast<number>(h % 1000);
    } else if constexpr (std::is_same_v<T, text>) {
        return std::string(h % 40, static_cast<char>('a' + h % 26));
    } else if constexpr (requires { typename T::first_type; }) {
        return {made_of<typename T::first_type>(h), made_of<typename T::second_type>(mixed(h))};
    } else {
        return h % 2 == 0 ? T(std::in_place_index<0>, made_of<number>(mixed(h)))
                          : T(std::in_place_index<1>, made_of<text>(mixed(h)));
    }
}

template <typename T>
std::vector<T> random_elements(chooser& choose, std::size_t count) {
    std::vector<T> list;
    const std::uint64_t salt = choose(1000);
    for (std::size_t i = 0; i < count; ++i) {
        list.push_back(made_of<T>(mixed(i + salt)));
    }
    return list;
}

/// Any function from A to B.
template <typename A, typename B>
struct function {
    std::uint64_t salt;
    B operator()(const ref<A>& element) const { return made_of<B>(mixed(hash(element) + salt)); }
};
/// The same, but some elements it can't bear.
template <typename A, typename B>
struct fragile_function {
    std::uint64_t salt;
    B operator()(const ref<A>& element) const {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h % 16 == 0) {
            throw std::runtime_error(fmt::format("fragile {} at {}", salt, h));
        }
        return made_of<B>(h);
    }
};
/// Fails up to three times in a row at some elements, and then bears them.
template <typename A, typename B>
struct flaky_function {
    std::uint64_t salt;
    std::uint64_t failing = 0;  // what it failed at last
    unsigned failed = 0;        // so many times
    B operator()(const ref<A>& element) {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h != failing) {
            failing = h;
            failed = 0;
        }
        if (h % 8 == 0 && failed < 1 + h / 8 % 3) {
            ++failed;
            throw std::runtime_error(fmt::format("flaky {} at {}", salt, h));
        }
        failed = 0;
        return made_of<B>(h);
    }
};
template <typename A, typename B>
struct late_function {
    std::uint64_t salt;
    future<B> operator()(const ref<A>& element) const {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h % 3 != 0) {
            return make_ready_future<B>(made_of<B>(h));
        }
        return sleep_for(std::chrono::microseconds(h % 20)).then([h] { return made_of<B>(h); });
    }
};
/// Throws at some elements, and fails later at others.
template <typename A, typename B>
struct late_fragile_function {
    std::uint64_t salt;
    future<B> operator()(const ref<A>& element) const {
        const B made = fragile_function<A, B>{salt}(element);
        const std::uint64_t h = mixed(hash(element) + salt + 1);
        if (h % 3 != 0) {
            return make_ready_future<B>(made);
        }
        return sleep_for(std::chrono::microseconds(h % 20)).then([h, made] {
            if (h % 5 == 0) {
                throw std::runtime_error(fmt::format("late at {}", h));
            }
            return made;
        });
    }
};
/// Fails as flaky_function does, at once or later, with several elements under way.
template <typename A, typename B>
struct late_flaky_function {
    std::uint64_t salt;
    // Elements that it failed at, by the place where they stay until their future ends, and how
    // often.
    std::vector<std::pair<const void*, unsigned>> failing{};
    future<B> operator()(const ref<A>& element) {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h % 8 == 0) {
            const void* const place = std::addressof(element);
            auto at = std::ranges::find(failing, place, &std::pair<const void*, unsigned>::first);
            if (at == failing.end()) {
                at = failing.emplace(at, place, 0);
            }
            if (at->second < 1 + h / 8 % 3) {
                if (at->second++ == 0) {
                    throw std::runtime_error(fmt::format("flaky {} at {}", salt, h));
                }
                return sleep_for(std::chrono::microseconds(h % 20)).then([h]() -> B {
                    throw std::runtime_error(fmt::format("flaky at {}", h));
                });
            }
            failing.erase(at);
        }
        return late_function<A, B>{salt}(element);
    }
};
template <typename A, typename B>
struct state_function {
    B operator()(std::uint64_t& state, const ref<A>& element) const {
        state = mixed(state + hash(element));
        return made_of<B>(state);
    }
};
/// Changes the state before it fails.
template <typename A, typename B>
struct fragile_state_function {
    B operator()(std::uint64_t& state, const ref<A>& element) const {
        state = mixed(state + hash(element));
        if (state % 16 == 0) {
            throw std::runtime_error(fmt::format("fragile state {}", state));
        }
        return made_of<B>(state);
    }
};

}  // namespace weir::test
