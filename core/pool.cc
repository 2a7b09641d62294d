// SPDX-License-Identifier: Apache-2.0
#include <weir/core/pool.hh>

namespace weir {

block_pool::~block_pool() {
    for (size_class& sizes : _classes) {
        while (free_block* block = sizes.first) {
            sizes.first = block->next;
            ::operator delete(block);
        }
    }
}

pool_counters block_pool::counters() const noexcept {
    pool_counters result = _counters;
    for (std::size_t index = 0; index < _classes.size(); ++index) {
        result.cached_bytes += _classes[index].count * (index + 1) * granule;
    }
    return result;
}

}  // namespace weir
