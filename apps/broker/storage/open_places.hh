// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>

namespace weir::broker {

/// The logs of a shard that may have files open to append to. Who finds no place waits; whoever
/// hears of that seals and closes a log that nobody needs now, which gives its place back.
/// thread   one shard
class open_places {
  public:
    explicit open_places(std::size_t count) noexcept : _free(count) {}

    /// fails    with the reason of `give_up`
    future<semaphore_units> take(abort_source& give_up) {
        if (semaphore_units there = _free.try_acquire(1)) {
            return make_ready_future<semaphore_units>(std::move(there));
        }
        future<semaphore_units> later = _free.acquire(1, give_up);
        wake();
        return later;
    }
    std::size_t waiting() const noexcept { return _free.waiting(); }

    /// There when somebody waits for a place, or end() was called. One may ask at a time.
    future<> wanted() {
        if (_ended || waiting() > 0) {
            return make_ready_future();
        }
        _news = {};
        _asleep = true;
        return _news.get_future();
    }
    void end() noexcept {
        _ended = true;
        wake();
    }

  private:
    void wake() noexcept {
        if (std::exchange(_asleep, false)) {
            _news.set_value();
        }
    }

    semaphore _free;
    promise<> _news;
    bool _asleep = false;
    bool _ended = false;
};

}  // namespace weir::broker
