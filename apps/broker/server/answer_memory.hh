// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>

namespace weir::broker {

/// The memory of a shard for answers on their way. A quarter is kept for connections that hold
/// nothing of it, and gives each but a small part of what is left: however many take and don't
/// read, there is something for the next.
/// thread   one shard
class answer_memory {
  public:
    explicit answer_memory(std::size_t bytes) noexcept
        : _bytes(bytes), _open(bytes - bytes / 4), _reserve(bytes / 4) {}

    /// returns  `bytes` of what is there for all, or no units
    [[nodiscard]] semaphore_units try_take(std::size_t bytes) noexcept {
        return _open.try_acquire(bytes);
    }
    /// For one that holds nothing: as much of `most` as may be given, or `least` where that is a
    /// little more.
    /// returns  no units if that is too much, too
    [[nodiscard]] semaphore_units try_take_reserved(std::size_t least, std::size_t most) noexcept {
        const std::size_t given = std::max(least, std::min(most, _reserve.available() / 32));
        return given <= _reserve.available() / 8 ? _reserve.try_acquire(given) : semaphore_units();
    }
    /// Waits in line for what is there for all.
    /// fails    with the reason of `ended`; errc::limit_exceeded if it can never be had
    future<semaphore_units> take(std::size_t bytes, abort_source& ended);

    /// The largest that take() can give.
    std::size_t most() const noexcept { return _bytes - _bytes / 4; }
    /// Those who wait in line.
    std::size_t waiting() const noexcept { return _open.waiting(); }
    std::size_t used() const noexcept { return _bytes - _open.available() - _reserve.available(); }

  private:
    const std::size_t _bytes;
    semaphore _open;
    semaphore _reserve;
};

}  // namespace weir::broker
