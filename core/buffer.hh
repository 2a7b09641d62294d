// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>

#include <weir/core/assert.hh>

namespace weir {

/// Bytes that several owners share without copying: a copy of a buffer, and a slice of one, refer
/// to the same memory, which goes when the last of them does.
/// thread   one shard, for life (asserted): the count is not atomic
/// cost     a copy counts up; allocate() takes one block from the shard's pool, and for more than
///          a block holds, or for alignments above 16, one more from the system allocator
class buffer {
  public:
    static constexpr std::size_t default_alignment = 16;

    /// An empty buffer without memory.
    buffer() noexcept = default;
    buffer(const buffer& other) noexcept
        : _memory(other._memory), _data(other._data), _size(other._size) {
        if (_memory) {
            ++_memory->owners;
        }
    }
    buffer(buffer&& other) noexcept
        : _memory(std::exchange(other._memory, nullptr)),
          _data(std::exchange(other._data, nullptr)),
          _size(std::exchange(other._size, 0)) {}
    buffer& operator=(buffer other) noexcept {
        std::swap(_memory, other._memory);
        std::swap(_data, other._data);
        std::swap(_size, other._size);
        return *this;
    }
    ~buffer() {
        if (_memory && --_memory->owners == 0) {
            free_memory();
        }
    }

    /// Memory for `size` bytes, which nobody has set.
    /// alignment   of its first byte: a power of two
    /// fails       throws std::bad_alloc
    static buffer allocate(std::size_t size, std::size_t alignment = default_alignment);
    static buffer copy_of(std::span<const std::byte> bytes);
    static buffer copy_of(std::string_view text) { return copy_of(std::as_bytes(std::span(text))); }

    const std::byte* data() const noexcept { return _data; }
    std::size_t size() const noexcept { return _size; }
    bool empty() const noexcept { return _size == 0; }
    std::span<const std::byte> bytes() const noexcept { return {_data, _size}; }
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(_data), _size}; }

    /// Whether nobody else refers to this memory.
    bool unique() const noexcept { return _memory == nullptr || _memory->owners == 1; }
    /// The bytes, to be written: only while nobody else can see them (asserted).
    std::span<std::byte> writable() noexcept {
        WEIR_ASSERT(unique());
        return {_data, _size};
    }

    /// The `size` bytes from `offset` on, in the same memory.
    buffer slice(std::size_t offset, std::size_t size) const noexcept {
        WEIR_ASSERT(offset <= _size && size <= _size - offset);
        buffer result(*this);
        result._data += offset;
        result._size = size;
        return result;
    }
    /// Leaves the first `count` bytes out.
    void remove_prefix(std::size_t count) noexcept {
        WEIR_ASSERT(count <= _size);
        _data += count;
        _size -= count;
    }
    /// Leaves all but the first `size` bytes out.
    void truncate(std::size_t size) noexcept {
        WEIR_ASSERT(size <= _size);
        _size = size;
    }

  private:
    struct memory {
        const void* home;  ///< the shard whose pool it goes back to
        std::size_t owners;
        std::size_t block_bytes;  ///< of this header, and of the bytes if they follow it
        std::size_t alignment;    ///< of the bytes if they are elsewhere, else 0
        std::byte* start;
    };

    buffer(memory* owned, std::size_t size) noexcept
        : _memory(owned), _data(owned->start), _size(size) {}
    void free_memory() noexcept;

    memory* _memory = nullptr;
    std::byte* _data = nullptr;
    std::size_t _size = 0;
};

}  // namespace weir
