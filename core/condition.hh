// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <weir/core/wait_line.hh>

namespace weir {

/// Waits for something that others change and then signal. Nothing changes between a test and the
/// wait that follows it on one shard, so a signal can't be missed.
/// thread   one shard, for life
class condition final : private wait_line<void> {
  public:
    /// Waits for the next signal.
    /// source   fails the wait with its reason
    future<> wait() { return wait_line::wait(nullptr); }
    future<> wait(abort_source& source) { return wait_line::wait(&source); }

    /// Waits until `holds()`, which is asked at once and after each signal.
    template <typename Predicate>
        requires std::predicate<Predicate&>
    future<> wait(Predicate holds) {
        while (!holds()) {
            co_await wait();
        }
    }
    template <typename Predicate>
        requires std::predicate<Predicate&>
    future<> wait(Predicate holds, abort_source& source) {
        while (!holds()) {
            co_await wait(source);
        }
    }

    /// Lets the one who waits longest go on.
    void signal() noexcept {
        if (first() != nullptr) {
            serve_first();
        }
    }
    /// Lets all who wait go on.
    void broadcast() noexcept {
        while (first() != nullptr) {
            serve_first();
        }
    }
    /// Fails all who wait.
    void fail(const std::exception_ptr& reason) noexcept { fail_all(reason); }
    std::size_t waiting() const noexcept { return size(); }
};

}  // namespace weir
