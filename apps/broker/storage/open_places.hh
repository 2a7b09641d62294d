// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <exception>
#include <utility>

#include <weir/core/abort.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>

namespace weir::broker {

/// The logs of a shard that may have files open to append to. Who finds no place waits; whoever
/// hears of that has a log give way: one that is idle, or a busy one that has had its turn.
/// thread   one shard
class open_places {
  public:
    explicit open_places(std::size_t count) noexcept : _free(count) {}

    /// fails    with the reason of `give_up`; errc::aborted after end_waits()
    future<semaphore_units> take(abort_source& give_up) {
        semaphore_units there = _free.try_acquire(1);
        return there ? make_ready_future<semaphore_units>(std::move(there)) : wait(give_up);
    }
    /// Who waits, or would have to, fails: the broker stops, and is not to wait for a place.
    void end_waits() noexcept { _end_of_waits.request(); }
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
    future<semaphore_units> wait(abort_source& give_up) {
        abort_source either(give_up);
        const abort_callback ended(
            _end_of_waits,
            [&either](const std::exception_ptr& why) noexcept { either.request(why); });
        future<semaphore_units> later = _free.acquire(1, either);
        wake();
        co_return co_await std::move(later);
    }
    void wake() noexcept {
        if (std::exchange(_asleep, false)) {
            _news.set_value();
        }
    }

    semaphore _free;
    abort_source _end_of_waits;
    promise<> _news;
    bool _asleep = false;
    bool _ended = false;
};

}  // namespace weir::broker
