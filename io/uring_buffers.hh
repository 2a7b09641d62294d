// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include <weir/io/backend.hh>
#include <weir/io/uring_ring.hh>

namespace weir::io {

/// The buffers that a shard's receives lend, and the queue by which the kernel gets them.
/// Internal to the uring backend.
class receive_buffers {
  public:
    receive_buffers() = default;
    receive_buffers(const receive_buffers&) = delete;
    receive_buffers& operator=(const receive_buffers&) = delete;
    ~receive_buffers();

    bool made() const noexcept { return _queue != nullptr; }
    /// Maps the memory, untouched, and gives all buffers to the kernel.
    /// returns  0 or -errno
    int make(kernel_ring& ring, unsigned count, unsigned buffer_bytes) noexcept;
    lent_buffer lend(std::uint32_t id, std::uint32_t length) const noexcept;
    void release(std::uint32_t id) noexcept;

  private:
    std::size_t queue_bytes() const noexcept;

    void* _queue = nullptr;
    std::byte* _memory = nullptr;
    unsigned _count = 0;
    unsigned _buffer_bytes = 0;
};

}  // namespace weir::io
