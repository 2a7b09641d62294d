// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::io {

/// How long the tasks of a turn have run, and how often that is worth a look at the clock: each
/// time while some of them are long, seldom while they are short. In ticks of any clock.
class slice {
  public:
    /// quota     of a turn's tasks
    /// minimum   before a bell may end the slice
    slice(std::uint64_t quota, std::uint64_t minimum) noexcept
        : _quota(quota), _minimum(minimum), _long(std::max<std::uint64_t>(quota / 16, 1)) {}

    void begin(std::uint64_t now) noexcept { _began = _looked = now; }
    /// returns  whether it is over
    bool over(std::uint64_t now, bool rung) noexcept {
        // What took long once may do so again: then each check is a look, for as many checks as
        // cost little beside what took long.
        if (const std::uint64_t gap = now - _looked; gap > _long) {
            _careful = std::max(_careful, careful_checks * (gap / _long));
        }
        _looked = now;
        const std::uint64_t used = now - _began;
        return used >= _quota || (rung && used >= _minimum);
    }
    /// After over() has said no: how many checks may pass until the next look, of which `checks`
    /// passed before this one.
    unsigned next_look(unsigned checks, unsigned most) noexcept {
        if (_careful > 0) {
            _careful -= std::min<std::uint64_t>(_careful, checks);
            return 1;
        }
        return std::min(2 * checks, most);
    }

  private:
    static constexpr std::uint64_t careful_checks = 128;  // for each 1/16 of a quota

    const std::uint64_t _quota;
    const std::uint64_t _minimum;
    const std::uint64_t _long;
    std::uint64_t _began = 0;
    std::uint64_t _looked = 0;
    std::uint64_t _careful = 0;  // checks that still are looks
};

}  // namespace weir::io
