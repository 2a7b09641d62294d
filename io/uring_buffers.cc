// SPDX-License-Identifier: Apache-2.0
#include <weir/io/uring_buffers.hh>

#include <cerrno>

#include <liburing.h>
#include <sys/mman.h>

#include <weir/core/assert.hh>

namespace weir::io {

namespace {

void* map(std::size_t bytes) noexcept {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

}  // namespace

std::size_t receive_buffers::queue_bytes() const noexcept {
    return _count * sizeof(io_uring_buf);
}

receive_buffers::~receive_buffers() {
    if (_queue != nullptr) {
        munmap(_queue, queue_bytes());
        munmap(_memory, std::size_t{_count} * _buffer_bytes);
    }
}

int receive_buffers::make(kernel_ring& ring, unsigned count, unsigned buffer_bytes) noexcept {
    _count = count;
    _buffer_bytes = buffer_bytes;
    const std::size_t bytes = std::size_t{count} * buffer_bytes;
    void* queue = map(queue_bytes());
    void* memory = map(bytes);
    int result = queue == nullptr || memory == nullptr ? -ENOMEM : 0;
    if (result == 0) {
        result = ring.register_buffers(queue, count);
    }
    if (result < 0) {
        if (queue != nullptr) {
            munmap(queue, queue_bytes());
        }
        if (memory != nullptr) {
            munmap(memory, bytes);
        }
        return result;
    }
    _queue = queue;
    _memory = static_cast<std::byte*>(memory);
    io_uring_buf_ring_init(static_cast<io_uring_buf_ring*>(_queue));
    for (unsigned id = 0; id < count; ++id) {
        release(id);
    }
    return 0;
}

lent_buffer receive_buffers::lend(std::uint32_t id, std::uint32_t length) const noexcept {
    WEIR_ASSERT(id < _count && length <= _buffer_bytes);
    return {_memory + std::size_t{id} * _buffer_bytes, length, id};
}

void receive_buffers::release(std::uint32_t id) noexcept {
    WEIR_ASSERT(id < _count);
    auto* queue = static_cast<io_uring_buf_ring*>(_queue);
    io_uring_buf_ring_add(queue, _memory + std::size_t{id} * _buffer_bytes, _buffer_bytes,
                          static_cast<unsigned short>(id), static_cast<int>(_count - 1), 0);
    io_uring_buf_ring_advance(queue, 1);
}

}  // namespace weir::io
