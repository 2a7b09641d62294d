// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace weir {

/// The filled part of a histogram as plain data: cheap to copy to another shard and to merge there.
struct histogram_data {
    struct bucket {
        std::uint32_t index = 0;
        std::uint64_t count = 0;
    };

    std::uint64_t count = 0;
    std::uint64_t sum = 0;
    std::uint64_t minimum = 0;
    std::uint64_t maximum = 0;
    std::vector<bucket> buckets;  ///< the non-empty ones, by rising index

    /// Adds what the other one holds.
    void merge(const histogram_data& other);
    /// returns  how many recorded values are at most 2^exponent - 1 (exact: a bucket edge)
    std::uint64_t count_below_power(unsigned exponent) const;
};

/// Log-linear histogram: 64 buckets per power of two, so that a percentile is never understated
/// and overstated by less than 1/64. Fixed memory (22 KiB); units are the caller's.
/// thread   one
/// source   HdrHistogram (Gil Tene), with the bucket arithmetic done by one shift
class histogram {
  public:
    static constexpr unsigned linear_bits = 6;
    static constexpr unsigned value_bits = 48;
    static constexpr std::size_t bucket_count = std::size_t{value_bits - linear_bits + 1}
                                                << linear_bits;
    /// Greater values are counted in the last bucket; maximum() and sum() still see them whole.
    static constexpr std::uint64_t highest_tracked = (std::uint64_t{1} << value_bits) - 1;

    /// Counts one value.
    /// cost     one bucket increment and four words; no branch depends on the value's size
    void record(std::uint64_t value) noexcept {
        ++_buckets[index_of(value)];
        ++_count;
        _sum += value;
        _minimum = std::min(_minimum, value);
        _maximum = std::max(_maximum, value);
    }

    /// Adds all that the other histogram has counted.
    void merge(const histogram& other) noexcept;
    void merge(const histogram_data& other) noexcept;
    void reset() noexcept { *this = histogram(); }

    std::uint64_t count() const noexcept { return _count; }
    std::uint64_t sum() const noexcept { return _sum; }
    /// returns  the smallest recorded value, exact; 0 when empty
    std::uint64_t minimum() const noexcept { return _count == 0 ? 0 : _minimum; }
    std::uint64_t maximum() const noexcept { return _maximum; }
    double mean() const noexcept;

    /// The value that `percent` of the recorded values do not exceed (nearest rank).
    /// percent  0..100
    /// returns  v with exact <= v < exact * (1 + 1/64), within minimum()..maximum(); 0 when empty
    std::uint64_t percentile(double percent) const noexcept;

    histogram_data data() const;

    static constexpr std::size_t index_of(std::uint64_t value) noexcept {
        constexpr std::uint64_t linear = std::uint64_t{1} << linear_bits;
        value = std::min(value, highest_tracked);
        const auto shift = static_cast<unsigned>(std::bit_width(value | linear)) - linear_bits - 1;
        return (std::size_t{shift} << linear_bits) + static_cast<std::size_t>(value >> shift);
    }

    /// returns  the greatest value that index_of puts into this bucket
    static constexpr std::uint64_t highest_in(std::size_t index) noexcept {
        constexpr std::size_t linear = std::size_t{1} << linear_bits;
        if (index < 2 * linear) {
            return index;
        }
        const std::size_t shift = (index >> linear_bits) - 1;
        const std::uint64_t mantissa = linear + (index & (linear - 1));
        return ((mantissa + 1) << shift) - 1;
    }

  private:
    std::uint64_t _count = 0;
    std::uint64_t _sum = 0;
    std::uint64_t _minimum = UINT64_MAX;
    std::uint64_t _maximum = 0;
    std::array<std::uint64_t, bucket_count> _buckets{};
};

}  // namespace weir
