// SPDX-License-Identifier: Apache-2.0
// operator new and delete for programs that simulate: see memory.hh. Linked whole, as the
// library weir_sim_memory, into those programs only.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include <weir/core/assert.hh>
#include <weir/io/sim/memory.hh>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ADDRESS_SANITIZER 1
#endif
#endif

namespace weir::io::sim::memory {

namespace {

/// What has become of a block. Bytes that are no block's hardly hold one of these.
enum class life : std::uint8_t { held = 0xa5, freed = 0x5b, gone = 0xc6 };

}  // namespace

/// Lies right before the bytes that the caller got.
struct block {
    arena* owner;  ///< null: the world's own
    block* next;
    block* previous;
    std::uint32_t size;
    std::uint32_t offset : 24;  ///< from what malloc gave to the caller's bytes, in blocks
    life state : 8;
};
static_assert(sizeof(block) == 32);

namespace {

// What hosts freed, and what went with them, is kept a while so that a second free meets the
// block and not whoever has its place. AddressSanitizer keeps such memory itself, and knows more.
#ifdef WEIR_ADDRESS_SANITIZER
constexpr std::size_t freed_bytes_max = 0;
constexpr std::size_t gone_bytes_max = 0;
#else
constexpr std::size_t freed_bytes_max = std::size_t{256} << 10;
constexpr std::size_t gone_bytes_max = std::size_t{16} << 20;
#endif

void give_back(block* header) noexcept {
    std::free(header + 1 - header->offset);
}

void keep(kept_blocks& kept, std::size_t bytes_max, block* header, life state) noexcept {
    header->state = state;
    header->next = nullptr;
    (kept.newest != nullptr ? kept.newest->next : kept.oldest) = header;
    kept.newest = header;
    kept.bytes += sizeof(block) + header->size;
    while (kept.bytes > bytes_max) {
        block* const oldest = kept.oldest;
        kept.oldest = oldest->next;
        if (kept.oldest == nullptr) {
            kept.newest = nullptr;
        }
        kept.bytes -= sizeof(block) + oldest->size;
        give_back(oldest);
    }
}

[[noreturn, gnu::cold]] void refuse(const block& header, std::source_location where) noexcept {
    enter(nullptr);
    const char* deed = "is freed that operator new did not give, or its header was overwritten";
    if (header.state == life::held) {
        deed = "is freed by another host than its own";
    } else if (header.state == life::freed) {
        deed = "is freed twice";
    } else if (header.state == life::gone) {
        deed =
            "is freed late: its host's memory has gone, and what outlives a host may not lie "
            "there (memory::outside)";
    }
    char text[192];
    std::snprintf(text, sizeof(text), "a block of %u bytes %s", header.size, deed);
    assertion_failed(text, where);
}

std::size_t layout_padding(thread_state& state, std::size_t alignment) noexcept {
    if (state.salt == 0) {
        return 0;
    }
    std::uint64_t z = (state.salt + ++state.count) * 0x9e3779b97f4a7c15;
    z ^= z >> 29;
    return (z % 5) * alignment;
}

bool fails(thread_state& state) noexcept {
    if (state.to_fail == 0 || (state.current == nullptr && state.whom == scarce_for::hosts))
        [[likely]] {
        return false;
    }
    if (state.first_to_fail != 0) {
        --state.first_to_fail;
        return false;
    }
    --state.to_fail;
    ++state.failed;
    return true;
}

void* allocate(std::size_t size, std::size_t alignment) noexcept {
    thread_state& state = this_thread();
    // No host has as much; a sanitizer would stop the program that asks for it.
    if (size >= std::size_t{1} << 31 || fails(state)) {
        return nullptr;
    }
    const bool natural = alignment <= alignof(std::max_align_t);
    alignment = alignment < sizeof(block) ? sizeof(block) : alignment;
    const std::size_t offset = alignment + layout_padding(state, alignment);
    if (offset / sizeof(block) >= std::size_t{1} << 24) {
        return nullptr;  // an alignment of 100 MiB
    }
    const std::size_t total = (size + offset + alignment - 1) / alignment * alignment;
    void* base = natural ? std::malloc(total) : std::aligned_alloc(alignment, total);
    if (base == nullptr) {
        return nullptr;
    }
    auto* bytes = static_cast<char*>(base) + offset;
    arena* owner = state.current;
    auto* header =
        new (bytes - sizeof(block)) block{owner,
                                          nullptr,
                                          nullptr,
                                          static_cast<std::uint32_t>(size),
                                          static_cast<std::uint32_t>(offset / sizeof(block)),
                                          life::held};
    if (owner != nullptr) {
        header->next = owner->first;
        if (owner->first != nullptr) {
            owner->first->previous = header;
        }
        owner->first = header;
        ++owner->blocks;
        owner->bytes += header->size;
    }
    if (state.salt != 0) {
        std::memset(bytes, state.fill, size);
    }
    return bytes;
}

void deallocate(void* bytes) noexcept {
    if (bytes == nullptr) {
        return;
    }
    thread_state& state = this_thread();
    auto* header = reinterpret_cast<block*>(static_cast<char*>(bytes) - sizeof(block));
    arena* const owner = header->owner;
    if (header->state != life::held ||
        (owner != nullptr && state.current != nullptr && owner != state.current)) [[unlikely]] {
        refuse(*header, std::source_location::current());
    }
    if (owner == nullptr) {
        header->state = life::freed;
        give_back(header);
        return;
    }
    (header->previous != nullptr ? header->previous->next : owner->first) = header->next;
    if (header->next != nullptr) {
        header->next->previous = header->previous;
    }
    --owner->blocks;
    owner->bytes -= header->size;
    keep(state.freed, freed_bytes_max, header, life::freed);
}

void free_list(arena& gone) noexcept {
    for (block* header = gone.first; header != nullptr;) {
        block* const next = header->next;
        keep(this_thread().gone, gone_bytes_max, header, life::gone);
        header = next;
    }
    gone = {};
}

[[gnu::constructor]] void register_interposer() {
    install(free_list);
}

void* allocate_or_throw(std::size_t size, std::size_t alignment) {
    void* bytes = allocate(size, alignment);
    if (bytes == nullptr) {
        throw std::bad_alloc();
    }
    return bytes;
}

}  // namespace
}  // namespace weir::io::sim::memory

namespace sim_memory = weir::io::sim::memory;

void* operator new(std::size_t size) {
    return sim_memory::allocate_or_throw(size, 1);
}
void* operator new[](std::size_t size) {
    return sim_memory::allocate_or_throw(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return sim_memory::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return sim_memory::allocate_or_throw(size, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return sim_memory::allocate(size, 1);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return sim_memory::allocate(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return sim_memory::allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
    return sim_memory::allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* bytes) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete[](void* bytes) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete(void* bytes, std::size_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete[](void* bytes, std::size_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete(void* bytes, std::align_val_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete[](void* bytes, std::align_val_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete(void* bytes, std::size_t, std::align_val_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete[](void* bytes, std::size_t, std::align_val_t) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete(void* bytes, const std::nothrow_t&) noexcept {
    sim_memory::deallocate(bytes);
}
void operator delete[](void* bytes, const std::nothrow_t&) noexcept {
    sim_memory::deallocate(bytes);
}

#ifdef WEIR_ADDRESS_SANITIZER
// An exception's memory does not come from operator new: what a killed host had thrown and not
// yet dropped stays, as nothing runs that would give it back.
extern "C" const char* __lsan_default_suppressions() {
    return "leak:__cxa_allocate_exception\n";
}
#endif
