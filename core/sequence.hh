// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace weir {

/// Numbers the elements of a ring from 0 on; -1 stands before the first. It never wraps: at a
/// thousand million a second 64 bits last for 292 years, so nothing compares modulo anything.
using sequence = std::int64_t;

/// Later than every element: the end of a ring that is not closed, the gate of a reader that left.
inline constexpr sequence sequence_never = std::numeric_limits<sequence>::max();

/// What two threads write apart must lie this far apart. Twice a cache line: the adjacent-line
/// prefetcher of x86 fetches lines in aligned pairs, and would share the neighbour as well.
inline constexpr std::size_t line_pair = 128;

/// `count` consecutive sequences from `first` on.
struct sequence_range {
    sequence first = 0;
    std::size_t count = 0;

    bool empty() const noexcept { return count == 0; }
    /// returns  the sequence after the last one
    sequence end() const noexcept { return first + static_cast<sequence>(count); }
    friend bool operator==(const sequence_range&, const sequence_range&) = default;
};

/// How far a producer has come: the one line that it shares with all its readers.
struct alignas(line_pair) ring_progress {
    std::atomic<sequence> cursor;  ///< the last published sequence
    std::atomic<sequence> end;     ///< the last sequence there will be, sequence_never until closed

    explicit ring_progress(sequence first) noexcept : cursor(first - 1), end(sequence_never) {}
};

}  // namespace weir
