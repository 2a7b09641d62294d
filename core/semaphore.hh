// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <weir/core/wait_line.hh>

namespace weir {

class semaphore;

/// Units taken from a semaphore, which go back when this is destroyed.
class semaphore_units {
  public:
    semaphore_units() noexcept = default;
    /// Takes over `count` units that were taken from `owner` already.
    semaphore_units(semaphore& owner, std::size_t count) noexcept : _owner(&owner), _count(count) {}
    semaphore_units(semaphore_units&& other) noexcept
        : _owner(std::exchange(other._owner, nullptr)), _count(std::exchange(other._count, 0)) {}
    semaphore_units& operator=(semaphore_units&& other) noexcept {
        std::swap(_owner, other._owner);
        std::swap(_count, other._count);
        return *this;
    }
    ~semaphore_units() { give_back(); }

    explicit operator bool() const noexcept { return _owner != nullptr; }
    std::size_t count() const noexcept { return _count; }
    /// Gives `count` of them back now, or all.
    void give_back(std::size_t count) noexcept;
    void give_back() noexcept { give_back(_count); }
    /// Takes over the units of `other`, which are of the same semaphore.
    void absorb(semaphore_units&& other) noexcept {
        WEIR_ASSERT(_owner == other._owner);
        _count += std::exchange(other._count, 0);
        other._owner = nullptr;
    }
    /// Splits `count` of them off.
    [[nodiscard]] semaphore_units split(std::size_t count) noexcept {
        WEIR_ASSERT(count <= _count);
        _count -= count;
        return {*_owner, count};
    }

  private:
    semaphore* _owner = nullptr;
    std::size_t _count = 0;
};

/// Units that can be taken and given back. Who asks for more than there are waits in line; nobody
/// overtakes, so that one who asks for many is not starved by many who ask for few.
/// thread   one shard, for life
class semaphore final : private wait_line<semaphore_units, std::size_t> {
  public:
    explicit semaphore(std::size_t units) noexcept : _available(units) {}

    std::size_t available() const noexcept { return _available; }
    std::size_t waiting() const noexcept { return size(); }

    /// Takes `count` units when it is their turn.
    /// fails    with the reason of `source`, which takes the waiter out of line; errc::closed
    /// cost     nothing if they are there; else one block from the pool
    future<semaphore_units> acquire(std::size_t count = 1) { return acquire(count, nullptr); }
    future<semaphore_units> acquire(std::size_t count, abort_source& source) {
        return acquire(count, &source);
    }
    /// Takes `count` units if they are there and nobody waits.
    /// returns  no units if not
    [[nodiscard]] semaphore_units try_acquire(std::size_t count = 1) noexcept {
        if (_closed || first() != nullptr || _available < count) {
            return {};
        }
        _available -= count;
        return {*this, count};
    }
    /// Adds units: new ones, or those that were taken over from semaphore_units.
    void release(std::size_t count = 1) noexcept {
        _available += count;
        serve();
    }
    /// Fails all who wait, and all who come, with errc::closed.
    void close() noexcept;

  private:
    future<semaphore_units> acquire(std::size_t count, abort_source* source);
    void serve() noexcept;
    void on_leave() noexcept override { serve(); }

    std::size_t _available;
    bool _closed = false;
};

inline void semaphore_units::give_back(std::size_t count) noexcept {
    WEIR_ASSERT(count <= _count);
    _count -= count;
    semaphore* owner = _count == 0 ? std::exchange(_owner, nullptr) : _owner;
    if (count > 0) {
        owner->release(count);
    }
}

/// Calls `fn` with `count` units taken, which go back when the future that it returned is settled.
template <typename Fn>
auto with_semaphore(semaphore& from, std::size_t count, Fn fn) ->
    typename detail::futurized<std::invoke_result_t<Fn&>>::type {
    const semaphore_units units = co_await from.acquire(count);
    co_return co_await futurize(fn);
}

}  // namespace weir
