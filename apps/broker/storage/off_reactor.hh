// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/poller.hh>
#include <weir/core/shard.hh>

namespace weir::broker {

/// Has `fn()` run by a thread of the host's pool: for work that takes longer than a shard may be
/// kept busy.
/// fn       touches nothing that belongs to a shard; returns a value
/// returns  what `fn` returned, or failed with what it threw
/// cost     two hops between threads
template <typename Fn>
future<std::invoke_result_t<Fn&>> off_reactor(Fn fn) {
    struct work final : blocking_work {
        explicit work(Fn& called) noexcept : fn(called) {}
        void run() noexcept override {
            try {
                result.emplace(fn());
            } catch (...) {
                failure = std::current_exception();
            }
        }
        void complete() noexcept override { done.set_value(); }

        Fn& fn;
        std::optional<std::invoke_result_t<Fn&>> result;
        std::exception_ptr failure;
        promise<> done;
    };
    work own(fn);
    future<> done = own.done.get_future();
    this_shard().outside().run_blocking(own);
    co_await std::move(done);
    if (own.failure) {
        std::rethrow_exception(own.failure);
    }
    co_return std::move(*own.result);
}

}  // namespace weir::broker
