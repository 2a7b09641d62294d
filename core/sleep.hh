// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/core/abort.hh>

namespace weir {

namespace detail {

class sleeper final : public timer,
                      public abort_subscription,
                      public hearing_promise<void>,
                      public pooled {
  public:
    future<> start(instant due, abort_source* source) {
        future<> woken = get_future();
        if (source != nullptr && !source->subscribe(*this)) {
            on_abort(source->reason());
        } else {
            arm(due);
        }
        return woken;
    }

  private:
    void fire() noexcept override {
        set_value();
        delete this;
    }
    void on_abort(const std::exception_ptr& reason) noexcept override {
        if (wanted()) {
            set_failure(reason);
        }
        delete this;
    }
    void unwanted() noexcept override { delete this; }
};

}  // namespace detail

/// Waits until the first turn at or after `due`. Dropping the future takes the sleep back.
/// source   if it is triggered first, the sleep fails with its reason
/// cost     one block from the pool
inline future<> sleep_until(instant due) {
    return due <= this_shard().now() ? make_ready_future()
                                     : (new detail::sleeper)->start(due, nullptr);
}
inline future<> sleep_until(instant due, abort_source& source) {
    if (source.requested()) {
        return make_failed_future(source.reason());
    }
    return due <= this_shard().now() ? make_ready_future()
                                     : (new detail::sleeper)->start(due, &source);
}

/// Waits for `time` from the start of this turn.
inline future<> sleep_for(duration time) {
    return sleep_until(this_shard().now() + time);
}
inline future<> sleep_for(duration time, abort_source& source) {
    return sleep_until(this_shard().now() + time, source);
}

}  // namespace weir
