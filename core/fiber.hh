// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <weir/core/future.hh>

namespace weir {

namespace detail {

/// What a fiber does. Its end makes whoever waits for the result ready.
class fiber_work {
  public:
    /// Runs on the fiber's stack; destroys this object.
    virtual void run() noexcept = 0;

  protected:
    ~fiber_work() = default;
};

}  // namespace detail

/// What a shard's fibers have done; read by metrics.
struct fiber_counters {
    std::uint64_t started = 0;
    std::uint64_t refused = 0;  ///< at shard_options::fibers
    std::size_t live = 0;       ///< started and not ended
    std::size_t stacks = 0;     ///< mapped: those of live fibers and those kept
};

/// The fibers of a shard, and their stacks: mapped when they are first needed, with a page below
/// that no one may touch, and kept for the next fiber. Pages that were never reached cost nothing.
/// A fiber is switched to only from the shard's own stack, and back to it.
/// thread   the owning shard
class fiber_pool {
  public:
    explicit fiber_pool(const shard_options& options);
    fiber_pool(const fiber_pool&) = delete;
    fiber_pool& operator=(const fiber_pool&) = delete;
    /// Unmaps every stack; a fiber that has not ended never will, and what it holds is lost.
    ~fiber_pool();

    /// Has `work` run on a fiber, in a later task.
    /// returns  false when shard_options::fibers have not ended yet; `work` was not taken
    bool start(detail::fiber_work& work);
    /// The fiber that runs now, as a task to be woken; null on the shard's own stack.
    task* current() const noexcept;
    /// Gives the shard its stack back until somebody makes the current fiber ready.
    void suspend() noexcept;

    const fiber_counters& counters() const noexcept { return _counters; }
    /// The most that any stack has ever used, in bytes, rounded up to pages.
    /// cost     one system call a stack: for metrics
    std::size_t stack_high_water() noexcept;

  private:
    class fiber;

    void retire(fiber& ended) noexcept;

    const std::size_t _stack_bytes;
    const std::size_t _limit;
    const std::size_t _kept_limit;
    fiber* _current = nullptr;
    std::vector<std::unique_ptr<fiber>> _fibers;
    std::vector<fiber*> _idle;
    fiber_counters _counters;
    std::size_t _high_water = 0;  // of stacks that were unmapped
};

namespace detail {

template <typename Fn>
class fiber_call final : public fiber_work, public pooled {
  public:
    using returned = std::invoke_result_t<Fn&>;
    using R = typename futurized<returned>::value;

    explicit fiber_call(Fn&& fn) : _fn(std::move(fn)) {}
    future<R> result() noexcept { return _promise.get_future(); }

    void run() noexcept override {
        future<R> ended = futurize(_fn);
        if (!ended.available()) {
            wait_in_fiber(ended);
        }
        _promise.set_from(std::move(ended));
        delete this;
    }

  private:
    promise<R> _promise;
    [[no_unique_address]] Fn _fn;
};

}  // namespace detail

/// Calls `fn` in a fiber, in a later task: there future::get() waits, and so may everything that
/// `fn` calls. Deep call chains and code written for threads need it; a coroutine costs less.
/// fails    as `fn` does; errc::overloaded when shard_options::fibers have not ended yet
/// cost     one block from the pool; a stack of shard_options::fiber_stack_bytes if none is kept
template <typename Fn>
auto async(Fn fn) -> future<typename detail::fiber_call<Fn>::R> {
    auto work = std::make_unique<detail::fiber_call<Fn>>(std::move(fn));
    if (!this_shard().fibers().start(*work)) {
        return make_failed_future<typename detail::fiber_call<Fn>::R>(
            error("start", "fiber", errc::overloaded));
    }
    return work.release()->result();
}

/// Whether this code runs in a fiber, where get() may wait.
inline bool in_fiber() noexcept {
    return this_shard().fibers().current() != nullptr;
}

/// In a fiber: lets every other ready task of the group run first. What co_await yield() is to a
/// coroutine.
inline void yield_fiber() noexcept {
    fiber_pool& fibers = this_shard().fibers();
    WEIR_ASSERT(fibers.current() != nullptr);
    this_shard().make_ready(*fibers.current());
    fibers.suspend();
}
/// In a fiber: yields if need_preempt() says so. For long loops.
inline void maybe_yield_fiber() noexcept {
    if (need_preempt()) {
        yield_fiber();
    }
}

}  // namespace weir
