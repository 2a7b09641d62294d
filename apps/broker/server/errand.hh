// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <optional>
#include <utility>
#include <vector>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/future.hh>
#include <weir/core/gate.hh>
#include <weir/core/sharded.hh>
#include <weir/core/when.hh>

namespace weir::broker {

/// Work on another shard that may wait there for a device. A call would hold one of the few credits
/// between two shards for so long, and keep those waiting who need no device; an errand is handed
/// over by a call that ends at once, and what it came to is brought home by another, with all that
/// came to an end at the same time: the appends of one commit, say.
/// thread   lives on its home shard, and is used by the other from the hand-over to the return
class errand {
  protected:
    errand() = default;
    ~errand() = default;

  private:
    friend class errand_returns;
    virtual void come_home() noexcept = 0;

    errand* _next = nullptr;
};

/// The errands of other shards that have ended here, on their way home: one call to each shard at a
/// time, with whatever has gathered.
/// thread   one shard
class errand_returns {
  public:
    /// Once, before the first add().
    void start();
    /// Brings it home.
    void add(shard_id home, errand& ended) noexcept;
    /// Once no errand is under way any more.
    future<> close();

  private:
    struct lane {
        errand* first = nullptr;
        errand* last = nullptr;
        bool idle = false;
        promise<> news;
    };
    future<> bring(shard_id home, gate::holder inside);

    std::vector<lane> _lanes;  // by home shard
    bool _closing = false;
    gate _loops;
};

namespace detail {

template <typename R>
class errand_for final : public errand {
  public:
    future<> home() { return _done.get_future(); }
    R take() {
        if (_failure) {
            std::rethrow_exception(std::move(_failure));
        }
        return std::move(*_result);
    }

    /// On the other shard. Its frame is there before anything begins.
    template <typename Owner, typename Fn>
    future<> run(Owner& owner, Fn& fn, shard_id home) {
        future<R> result = futurize(fn, owner);
        ended_at_once = result.available();
        co_await settled(result);
        if (result.failed()) {
            _failure = result.take_failure();
        } else {
            _result.emplace(result.take());
        }
        if (!ended_at_once) {
            owner.returns().add(home, *this);
        }
    }

    bool ended_at_once = false;  // then the hand-over's reply tells, and nothing is under way

  private:
    void come_home() noexcept override { _done.set_value(); }

    promise<> _done;
    std::exception_ptr _failure;
    std::optional<R> _result;
};

}  // namespace detail

/// Calls `fn(T&)` with the T of shard `to`, which has `returns()`, and brings its result back. Is
/// begun before this returns, so that errands from one place arrive in their order.
/// fn       returns a future of a value; stays here, and runs there by reference
/// fails    as `fn` does, or the call that hands it over
/// cost     as on() where it ends at once; else another message home, shared with others
template <typename T, typename Fn>
auto run_errand(sharded<T>& all, shard_id to, Fn fn) -> std::invoke_result_t<Fn&, T&> {
    using result = decltype(std::declval<std::invoke_result_t<Fn&, T&>&>().take());
    detail::errand_for<result> sent;
    future<> home = sent.home();
    const bool ended = co_await on(to, [&all, &fn, &sent, from = this_shard().id()] {
        sent.run(all.local(), fn, from).ignore();
        return sent.ended_at_once;
    });
    if (!ended) {
        co_await std::move(home);
    }
    co_return sent.take();
}

}  // namespace weir::broker
