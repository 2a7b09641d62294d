// SPDX-License-Identifier: Apache-2.0
#include <weir/core/buffer.hh>

#include <bit>
#include <cstring>
#include <new>

#include <weir/core/shard.hh>

namespace weir {

buffer buffer::allocate(std::size_t size, std::size_t alignment) {
    WEIR_ASSERT(std::has_single_bit(alignment));
    if (size == 0) {
        return {};
    }
    // The bytes follow the header where a pool block has room for both.
    constexpr std::size_t header =
        (sizeof(memory) + default_alignment - 1) / default_alignment * default_alignment;
    shard& here = this_shard();
    const bool together =
        alignment <= default_alignment && size <= block_pool::largest_block - header;
    const std::size_t block_bytes = together ? header + size : sizeof(memory);
    auto* block = static_cast<std::byte*>(here.pool().allocate(block_bytes));
    std::byte* start = block + header;
    if (!together) {
        try {
            start = static_cast<std::byte*>(::operator new(size, std::align_val_t(alignment)));
        } catch (...) {
            here.pool().deallocate(block, block_bytes);
            throw;
        }
    }
    return {new (block) memory{&here, 1, block_bytes, together ? 0 : alignment, start}, size};
}

buffer buffer::copy_of(std::span<const std::byte> bytes) {
    buffer result = allocate(bytes.size());
    if (!bytes.empty()) {
        std::memcpy(result._data, bytes.data(), bytes.size());
    }
    return result;
}

void buffer::free_memory() noexcept {
    shard& here = this_shard();
    WEIR_ASSERT(_memory->home == &here);
    if (_memory->alignment != 0) {
        ::operator delete(_memory->start, std::align_val_t(_memory->alignment));
    }
    here.pool().deallocate(_memory, _memory->block_bytes);
}

}  // namespace weir
