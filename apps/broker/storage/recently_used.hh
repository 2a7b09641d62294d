// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <utility>

namespace weir::broker {

/// What the logs of a shard keep of their segments, up to a limit: of what was used last. Each is
/// there as long as somebody uses it.
/// thread   one shard
template <typename Value>
class recently_used {
  public:
    using pointer = std::shared_ptr<Value>;

    /// most     that all may cost together; the last one is kept, whatever it costs
    explicit recently_used(std::size_t most) noexcept : _most(most) {}

    /// of       whose segment it is
    /// returns  null if it is not there
    pointer find(const void* of, std::int64_t base_offset) noexcept {
        const auto known = _places.find({of, base_offset});
        if (known == _places.end()) {
            return nullptr;
        }
        _kept.splice(_kept.end(), _kept, known->second);
        return known->second->value;
    }
    /// In place of what was kept of that segment; those that were used longest ago go for it.
    void keep(const void* of, std::int64_t base_offset, pointer value, std::size_t cost = 1) {
        forget(of, base_offset);
        _kept.push_back({{of, base_offset}, std::move(value), cost});
        try {
            _places.emplace(_kept.back().which, std::prev(_kept.end()));
        } catch (...) {
            _kept.pop_back();
            throw;
        }
        _used += cost;
        while (_used > _most && _kept.size() > 1) {
            forget(_kept.front().which.first, _kept.front().which.second);
        }
    }
    void forget(const void* of, std::int64_t base_offset) noexcept {
        if (const auto known = _places.find({of, base_offset}); known != _places.end()) {
            drop(known);
        }
    }
    void forget(const void* of) noexcept {
        for (auto at = _places.lower_bound({of, INT64_MIN});
             at != _places.end() && at->first.first == of;) {
            at = drop(at);
        }
    }
    /// What all that is kept costs.
    std::size_t used() const noexcept { return _used; }

  private:
    using key = std::pair<const void*, std::int64_t>;
    struct entry {
        key which;
        pointer value;
        std::size_t cost;
    };
    using places = std::map<key, typename std::list<entry>::iterator>;

    typename places::iterator drop(typename places::iterator at) noexcept {
        _used -= at->second->cost;
        _kept.erase(at->second);
        return _places.erase(at);
    }

    const std::size_t _most;
    std::size_t _used = 0;
    std::list<entry> _kept;  // the latest used last
    places _places;
};

}  // namespace weir::broker
