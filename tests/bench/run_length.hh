// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::bench {

/// A run's length in elements, a multiple of 64, from how fast the first run was.
class run_length {
  public:
    run_length(double seconds, std::int64_t first) : _seconds(seconds), _count(first) {}
    std::int64_t operator()() const { return _count; }
    void learn(double per_second) {
        if (!_learned) {
            _learned = true;
            _count = std::max<std::int64_t>(1, static_cast<std::int64_t>(per_second * _seconds)) /
                         64 * 64 +
                     64;
        }
    }

  private:
    double _seconds;
    std::int64_t _count;
    bool _learned = false;
};

}  // namespace weir::bench
