// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>

namespace weir {

/// What a block pool has done; read by metrics.
struct pool_counters {
    std::uint64_t allocations = 0;   ///< blocks handed out
    std::uint64_t misses = 0;        ///< of those, taken from the system allocator
    std::uint64_t cached_bytes = 0;  ///< free blocks kept for the next
    std::uint64_t blocks_kept = 0;   ///< those, and the reserve
};

/// The shard's pool of small blocks: coroutine frames, continuations, calls, operations. Blocks
/// come one by one from operator new and stay in free lists by size, up to a limit. A few more are
/// put by for the time when there is no memory: what ends and frees needs frames and calls itself.
/// thread   the owning shard
/// cost     a list pop; operator new on a miss or above largest_block
class block_pool {
  public:
    static constexpr std::size_t granule = 64;
    static constexpr std::size_t largest_block = 2048;
    /// Put by with the first block, of the largest size each.
    static constexpr std::size_t reserve_blocks = 16;

    /// cache_limit  bytes of free blocks kept, per size
    explicit block_pool(std::size_t cache_limit = 256 * 1024) noexcept
        : _cache_limit(cache_limit) {}
    block_pool(const block_pool&) = delete;
    block_pool& operator=(const block_pool&) = delete;
    ~block_pool();

    /// fails    throws std::bad_alloc when there is no memory, and for small blocks no reserve
    ///          either
    void* allocate(std::size_t bytes) {
        if (pooled && bytes <= largest_block) [[likely]] {
            size_class& sizes = _classes[index_of(bytes)];
            ++_counters.allocations;
            if (free_block* block = sizes.first) [[likely]] {
                sizes.first = block->next;
                --sizes.count;
                return block;
            }
            return miss((index_of(bytes) + 1) * granule);
        }
        ++_counters.allocations;
        return miss(bytes);
    }

    void deallocate(void* memory, std::size_t bytes) noexcept {
        if (pooled && bytes <= largest_block) [[likely]] {
            size_class& sizes = _classes[index_of(bytes)];
            if ((sizes.count + 1) * (index_of(bytes) + 1) * granule <= _cache_limit) [[likely]] {
                sizes.first = new (memory) free_block{sizes.first};
                ++sizes.count;
                return;
            }
        }
        ::operator delete(memory);
    }

    pool_counters counters() const noexcept;

  private:
    struct free_block {
        free_block* next;
    };
    struct size_class {
        free_block* first = nullptr;
        std::size_t count = 0;
    };

    // Under AddressSanitizer each block comes from the allocator, so that a use after free shows.
#if defined(__SANITIZE_ADDRESS__)
    static constexpr bool pooled = false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    static constexpr bool pooled = false;
#else
    static constexpr bool pooled = true;
#endif
#else
    static constexpr bool pooled = true;
#endif

    static constexpr std::size_t index_of(std::size_t bytes) noexcept {
        return bytes == 0 ? 0 : (bytes - 1) / granule;
    }

    void* miss(std::size_t bytes);

    std::array<size_class, largest_block / granule> _classes{};
    std::array<void*, reserve_blocks> _reserve{};
    std::size_t _reserved = 0;
    std::size_t _cache_limit;
    pool_counters _counters;
};

}  // namespace weir
