// SPDX-License-Identifier: Apache-2.0
#include <weir/core/pool.hh>

namespace weir {

void* block_pool::miss(std::size_t bytes) {
    ++_counters.misses;
    while (_reserved < reserve_blocks) {
        void* const kept = ::operator new(largest_block, std::nothrow);
        if (kept == nullptr) {
            break;
        }
        _reserve[_reserved++] = kept;
    }
    if (void* const memory = ::operator new(bytes, std::nothrow)) [[likely]] {
        return memory;
    }
    if (bytes > largest_block || _reserved == 0) {
        throw std::bad_alloc();
    }
    return _reserve[--_reserved];
}

block_pool::~block_pool() {
    while (_reserved != 0) {
        ::operator delete(_reserve[--_reserved]);
    }
    for (size_class& sizes : _classes) {
        while (free_block* block = sizes.first) {
            sizes.first = block->next;
            ::operator delete(block);
        }
    }
}

pool_counters block_pool::counters() const noexcept {
    pool_counters result = _counters;
    result.blocks_kept = _reserved;
    for (std::size_t index = 0; index < _classes.size(); ++index) {
        result.cached_bytes += _classes[index].count * (index + 1) * granule;
        result.blocks_kept += _classes[index].count;
    }
    return result;
}

}  // namespace weir
