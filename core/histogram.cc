// SPDX-License-Identifier: Apache-2.0
#include <weir/core/histogram.hh>

#include <cmath>
#include <iterator>

namespace weir {

void histogram_data::merge(const histogram_data& other) {
    if (other.count == 0) {
        return;
    }
    minimum = count == 0 ? other.minimum : std::min(minimum, other.minimum);
    maximum = std::max(maximum, other.maximum);
    count += other.count;
    sum += other.sum;
    std::vector<bucket> merged;
    merged.reserve(buckets.size() + other.buckets.size());
    std::merge(buckets.begin(), buckets.end(), other.buckets.begin(), other.buckets.end(),
               std::back_inserter(merged),
               [](const bucket& a, const bucket& b) { return a.index < b.index; });
    buckets.clear();
    for (const bucket& next : merged) {
        if (!buckets.empty() && buckets.back().index == next.index) {
            buckets.back().count += next.count;
        } else {
            buckets.push_back(next);
        }
    }
}

std::uint64_t histogram_data::count_below_power(unsigned exponent) const {
    if (exponent >= histogram::value_bits) {
        return count;
    }
    const std::size_t end = histogram::index_of(std::uint64_t{1} << exponent);
    std::uint64_t below = 0;
    for (const bucket& each : buckets) {
        if (each.index >= end) {
            break;
        }
        below += each.count;
    }
    return below;
}

void histogram::merge(const histogram& other) noexcept {
    for (std::size_t i = 0; i < bucket_count; ++i) {
        _buckets[i] += other._buckets[i];
    }
    _count += other._count;
    _sum += other._sum;
    _minimum = std::min(_minimum, other._minimum);
    _maximum = std::max(_maximum, other._maximum);
}

void histogram::merge(const histogram_data& other) noexcept {
    if (other.count == 0) {
        return;
    }
    for (const histogram_data::bucket& each : other.buckets) {
        _buckets[each.index] += each.count;
    }
    _count += other.count;
    _sum += other.sum;
    _minimum = std::min(_minimum, other.minimum);
    _maximum = std::max(_maximum, other.maximum);
}

double histogram::mean() const noexcept {
    return _count == 0 ? 0.0 : static_cast<double>(_sum) / static_cast<double>(_count);
}

std::uint64_t histogram::percentile(double percent) const noexcept {
    if (_count == 0) {
        return 0;
    }
    const double fraction = std::clamp(percent, 0.0, 100.0) / 100.0;
    const auto wanted =
        static_cast<std::uint64_t>(std::ceil(fraction * static_cast<double>(_count)));
    const std::uint64_t rank = std::clamp<std::uint64_t>(wanted, 1, _count);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i + 1 < bucket_count; ++i) {
        seen += _buckets[i];
        if (seen >= rank) {
            return std::clamp(highest_in(i), minimum(), _maximum);
        }
    }
    return _maximum;  // the last bucket has no upper edge
}

histogram_data histogram::data() const {
    histogram_data copy{_count, _sum, minimum(), _maximum, {}};
    for (std::size_t i = 0; i < bucket_count; ++i) {
        if (_buckets[i] != 0) {
            copy.buckets.push_back({static_cast<std::uint32_t>(i), _buckets[i]});
        }
    }
    return copy;
}

}  // namespace weir
