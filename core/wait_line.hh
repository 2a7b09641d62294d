// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <weir/core/abort.hh>

namespace weir {

/// Those who wait for a T each, first come, first served; what semaphores, conditions and queues
/// are made of. Each may bring an Asked, and may leave before its turn through an abort_source.
/// Who drops the future that it was given leaves the line.
/// thread   one shard, for life
/// cost     one block from the pool for each who waits
template <typename T, typename Asked = detail::nothing>
class wait_line {
    class waiter;

  public:
    wait_line() = default;
    wait_line(const wait_line&) = delete;
    wait_line& operator=(const wait_line&) = delete;

    /// returns  how many wait
    std::size_t size() const noexcept { return _size; }

    /// Waits at the end of the line.
    /// fails    with the reason of `source`, which may be null; errc::broken_promise when the line
    ///          goes first
    future<T> wait(abort_source* source, Asked asked = {}) {
        if (source != nullptr && source->requested()) {
            return future<T>::failed_with(source->reason());
        }
        auto* added = new waiter(*this, std::move(asked));
        (_last ? _last->next : _first) = added;
        added->previous = std::exchange(_last, added);
        ++_size;
        if (source != nullptr) {
            const bool subscribed = source->subscribe(*added);
            WEIR_ASSERT(subscribed);
        }
        return added->get_future();
    }

    /// What the first in line asked for; null if nobody waits.
    Asked* first() noexcept {
        while (_first != nullptr && !_first->wanted()) {
            remove(*_first);
        }
        return _first != nullptr ? &_first->asked : nullptr;
    }
    /// Gives the first in line, who is there, its value.
    template <typename... Args>
    void serve_first(Args&&... args) {
        _first->set_value(std::forward<Args>(args)...);
        remove(*_first);
    }
    /// Fails all who wait.
    void fail_all(const std::exception_ptr& reason) noexcept {
        while (first() != nullptr) {
            _first->set_failure(reason);
            remove(*_first);
        }
    }

  protected:
    ~wait_line() {
        while (_first != nullptr) {
            remove(*_first);
        }
    }
    /// Someone left before its turn: those behind may have their turn now.
    virtual void on_leave() noexcept {}

  private:
    class waiter final : public abort_subscription,
                         public hearing_promise<T>,
                         public detail::pooled {
      public:
        waiter(wait_line& line, Asked&& asked) : asked(std::move(asked)), _line(line) {}

        waiter* next = nullptr;
        waiter* previous = nullptr;
        [[no_unique_address]] Asked asked;

      private:
        void on_abort(const std::exception_ptr& reason) noexcept override {
            if (this->wanted()) {
                this->set_failure(reason);
            }
            leave();
        }
        void unwanted() noexcept override { leave(); }
        void leave() noexcept {
            wait_line& line = _line;
            line.remove(*this);
            line.on_leave();
        }
        wait_line& _line;
    };

    void remove(waiter& leaving) noexcept {
        (leaving.previous ? leaving.previous->next : _first) = leaving.next;
        (leaving.next ? leaving.next->previous : _last) = leaving.previous;
        --_size;
        delete &leaving;
    }

    waiter* _first = nullptr;
    waiter* _last = nullptr;
    std::size_t _size = 0;
};

}  // namespace weir
