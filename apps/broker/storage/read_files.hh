// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <utility>

#include <weir/io/file.hh>

namespace weir::broker {

/// The segments that the logs of a shard keep open for reading: those that were used last.
/// thread   one shard
class read_files {
  public:
    /// most     files, at least one
    explicit read_files(std::size_t most) noexcept : _most(std::max<std::size_t>(most, 1)) {}

    /// of       whose segment it is
    /// returns  null if it is not open
    std::shared_ptr<io::file> find(const void* of, std::int64_t base_offset) {
        const auto known = _places.find({of, base_offset});
        if (known == _places.end()) {
            return nullptr;
        }
        _files.splice(_files.end(), _files, known->second);
        return known->second->file;
    }
    /// Closes the one that was used longest ago, once nobody reads from it, if there are too many.
    void keep(const void* of, std::int64_t base_offset, std::shared_ptr<io::file> file) {
        forget_one({of, base_offset});
        _files.push_back({{of, base_offset}, std::move(file)});
        try {
            _places.emplace(_files.back().which, std::prev(_files.end()));
        } catch (...) {
            _files.pop_back();
            throw;
        }
        if (_files.size() > _most) {
            forget_one(_files.front().which);
        }
    }
    void forget(const void* of) noexcept {
        for (auto at = _places.lower_bound({of, INT64_MIN});
             at != _places.end() && at->first.first == of;) {
            _files.erase(at->second);
            at = _places.erase(at);
        }
    }
    std::size_t size() const noexcept { return _files.size(); }

  private:
    using key = std::pair<const void*, std::int64_t>;
    struct entry {
        key which;
        std::shared_ptr<io::file> file;
    };

    void forget_one(const key which) noexcept {
        if (const auto known = _places.find(which); known != _places.end()) {
            _files.erase(known->second);
            _places.erase(known);
        }
    }

    const std::size_t _most;
    std::list<entry> _files;  // the latest used last
    std::map<key, std::list<entry>::iterator> _places;
};

}  // namespace weir::broker
