// SPDX-License-Identifier: Apache-2.0
// operator new and delete for programs that simulate: see memory.hh. Linked whole, as the
// library weir_sim_memory, into those programs only.
#include <cstdlib>
#include <cstring>
#include <new>

#include <weir/io/sim/memory.hh>

namespace weir::io::sim::memory {

/// Lies right before the bytes that the caller got.
struct block {
    arena* owner;  ///< null: the world's own
    block* next;
    block* previous;
    std::uint32_t size;
    std::uint32_t offset;  ///< from what malloc gave to the caller's bytes
};
static_assert(sizeof(block) == 32);

namespace {

std::size_t layout_padding(thread_state& state, std::size_t alignment) noexcept {
    if (state.salt == 0) {
        return 0;
    }
    std::uint64_t z = (state.salt + ++state.count) * 0x9e3779b97f4a7c15;
    z ^= z >> 29;
    return (z % 5) * alignment;
}

bool fails(thread_state& state) noexcept {
    if (state.to_fail == 0 || state.current == nullptr) [[likely]] {
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
    const std::size_t total = (size + offset + alignment - 1) / alignment * alignment;
    void* base = natural ? std::malloc(total) : std::aligned_alloc(alignment, total);
    if (base == nullptr) {
        return nullptr;
    }
    auto* bytes = static_cast<char*>(base) + offset;
    arena* owner = state.current;
    auto* header =
        new (bytes - sizeof(block)) block{owner, nullptr, nullptr, static_cast<std::uint32_t>(size),
                                          static_cast<std::uint32_t>(offset)};
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
    auto* header = reinterpret_cast<block*>(static_cast<char*>(bytes) - sizeof(block));
    if (arena* owner = header->owner; owner != nullptr) {
        (header->previous != nullptr ? header->previous->next : owner->first) = header->next;
        if (header->next != nullptr) {
            header->next->previous = header->previous;
        }
        --owner->blocks;
        owner->bytes -= header->size;
    }
    std::free(static_cast<char*>(bytes) - header->offset);
}

void free_list(arena& gone) noexcept {
    for (block* header = gone.first; header != nullptr;) {
        block* next = header->next;
        std::free(reinterpret_cast<char*>(header) + sizeof(block) - header->offset);
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

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// An exception's memory does not come from operator new: what a killed host had thrown and not
// yet dropped stays, as nothing runs that would give it back.
extern "C" const char* __lsan_default_suppressions() {
    return "leak:__cxa_allocate_exception\n";
}
#endif
#endif
