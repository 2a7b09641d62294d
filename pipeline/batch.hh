// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <type_traits>

#include <weir/core/shard.hh>
#include <weir/pipeline/element.hh>

// How kernels go through a batch: in loops that the compiler can see through.
namespace weir::pipeline::detail {

/// A function, or a state, for as long as a batch takes. What can be copied as bytes is copied
/// and put back at the end, so that it may lie in registers: in its kernel each element would wait
/// for what the one before it stored.
template <typename T, bool Copied = std::is_trivially_copyable_v<T> && sizeof(T) <= 64>
class at_hand {
  public:
    explicit at_hand(T& home) noexcept : _home(home), _own(home) {}
    at_hand(const at_hand&) = delete;
    at_hand& operator=(const at_hand&) = delete;
    ~at_hand() { std::construct_at(&_home, _own); }
    T& operator*() noexcept { return _own; }

  private:
    T& _home;
    T _own;
};
template <typename T>
class at_hand<T, false> {
  public:
    explicit at_hand(T& home) noexcept : _home(home) {}
    T& operator*() noexcept { return _home; }

  private:
    T& _home;
};

/// So many elements pass between two looks at whether a batch takes too long: a loop that looks
/// for each one is slower where they take a nanosecond.
inline constexpr std::size_t looks_apart = 4;

/// Calls `visit(i)` for 0..n-1, or for fewer if that takes very long.
/// returns  how many
template <typename Visit>
std::size_t for_a_while(std::size_t n, const Visit& visit) {
    const weir::shard& here = this_shard();
    for (std::size_t i = 0; i < n;) {
        const std::size_t end = std::min(i + looks_apart, n);
        for (; i < end; ++i) {
            visit(i);
        }
        if (here.hurried()) [[unlikely]] {
            return i;
        }
    }
    return n;
}

/// Calls `visit(i, element)` for the first `n` elements of a batch, in order: in a loop of its own
/// for elements that lie side by side, as they mostly do.
/// returns  how many: fewer if they take very long
template <typename T, typename Visit>
std::size_t for_each_element(const lane* in, std::size_t n, Visit visit) {
    // Copies, so that the compiler knows that no element lies there.
    std::array<lane, shape<T>::columns> lanes;
    std::array<dense_lane, shape<T>::columns> dense;
    bool side_by_side = true;
    for (std::size_t column = 0; column < shape<T>::columns; ++column) {
        lanes[column] = in[column];
        dense[column] = {in[column].base};
        side_by_side = side_by_side && in[column].picked == nullptr &&
                       in[column].stride == column_types<T>[column].size;
    }
    if (side_by_side) {
        return for_a_while(n, [&](std::size_t i) { visit(i, shape<T>::load(dense.data(), i)); });
    }
    return for_a_while(n, [&](std::size_t i) { visit(i, shape<T>::load(lanes.data(), i)); });
}

/// The slots of a batch of results.
template <typename T>
class slots {
  public:
    explicit slots(const slot_lane* out) noexcept {
        std::copy_n(out, _lanes.size(), _lanes.data());
    }
    void store(std::size_t i, T&& value) const noexcept {
        shape<T>::store(_lanes.data(), i, std::move(value));
    }

  private:
    std::array<slot_lane, shape<T>::columns> _lanes;
};

}  // namespace weir::pipeline::detail
