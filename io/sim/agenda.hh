// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include <weir/core/time.hh>
#include <weir/io/sim/random.hh>

namespace weir::io::sim {

/// What will happen, by virtual time; what happens at one time happens in seeded order.
class agenda {
  public:
    using action = std::function<void()>;

    explicit agenda(random_stream random) noexcept : _random(random) {}

    instant now() const noexcept { return _now; }
    bool empty() const noexcept { return _entries.empty(); }
    instant next() const noexcept { return _entries.empty() ? never : _entries.front().when; }

    void at(instant when, action what) {
        _entries.push_back({std::max(when, _now), _random.next(), _count++, std::move(what)});
        std::push_heap(_entries.begin(), _entries.end(), later);
    }
    void after(duration delay, action what) { at(_now + delay, std::move(what)); }

    /// Moves time to the next entry and runs it.
    void step() {
        std::pop_heap(_entries.begin(), _entries.end(), later);
        entry due = std::move(_entries.back());
        _entries.pop_back();
        _now = due.when;
        due.what();
    }
    /// Moves time on when nothing is due before.
    void advance(instant to) noexcept { _now = std::max(_now, to); }

  private:
    struct entry {
        instant when;
        std::uint64_t tie;
        std::uint64_t count;
        action what;
    };
    static bool later(const entry& a, const entry& b) noexcept {
        if (a.when != b.when) {
            return a.when > b.when;
        }
        return a.tie != b.tie ? a.tie > b.tie : a.count > b.count;
    }

    random_stream _random;
    instant _now{};
    std::uint64_t _count = 0;
    std::vector<entry> _entries;
};

}  // namespace weir::io::sim
