// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace weir::pipeline {

/// The most elements that a stage handles at once. Erased calls cost once a batch, and a batch of
/// picked elements needs a pointer each.
inline constexpr std::size_t max_batch = 256;

/// The most elements of a ring that can be asked for, and of what is dealt in a row.
inline constexpr std::size_t max_capacity = std::size_t{1} << 32;

/// Where the elements of one column of a batch lie: side by side in a ring, or each somewhere.
struct lane {
    const std::byte* base = nullptr;           ///< of element 0, unless picked
    std::size_t stride = 0;                    ///< bytes from one element to the next
    const std::byte* const* picked = nullptr;  ///< a pointer an element; null: base and stride

    const std::byte* at(std::size_t i) const noexcept {
        return picked != nullptr ? picked[i] : base + i * stride;
    }
};

/// A lane whose elements lie side by side: their type says how far apart.
struct dense_lane {
    const std::byte* base = nullptr;
};

/// Raw memory for consecutive elements of one column of a batch.
struct slot_lane {
    std::byte* base = nullptr;
    std::size_t size = 0;  ///< bytes of an element

    std::byte* at(std::size_t i) const noexcept { return base + i * size; }
};

}  // namespace weir::pipeline
