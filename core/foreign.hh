// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <future>
#include <memory>
#include <utility>

#include <weir/core/future.hh>
#include <weir/core/host.hh>

namespace weir {

namespace detail {

/// Its own continuation: on the shard it needs no memory but what `fn` asks for.
template <typename Fn, typename R>
class foreign_call final : public foreign_work, private task {
  public:
    explicit foreign_call(Fn&& fn) : task(task_context{}), _fn(std::move(fn)) {}

    std::future<R> result() { return _promise.get_future(); }
    void refuse(std::exception_ptr reason) { _promise.set_exception(std::move(reason)); }

    void run() noexcept override {
        if (_begun) {
            settle();
            delete this;
            return;
        }
        _begun = true;
        _called = futurize(_fn);
        if (_called.available()) {
            settle();
        } else {
            _waits = true;
            _called.set_waiter(*this);
        }
    }
    void let_go() noexcept override {
        if (!_waits) {
            delete this;
        }
    }

  private:
    void settle() noexcept {
        if (_called.failed()) {
            _promise.set_exception(_called.take_failure());
        } else if constexpr (std::is_void_v<R>) {
            _promise.set_value();
        } else {
            _promise.set_value(_called.take());
        }
    }

    Fn _fn;
    weir::future<R> _called;
    std::promise<R> _promise;
    bool _begun = false;
    bool _waits = false;
};

}  // namespace detail

/// Calls `fn` on a shard for a thread that has none, such as main() or a test's. Everything that
/// `fn` owns is destroyed there.
/// fails    as `fn` does; errc::overloaded when mesh_options::foreign_calls wait already;
///          std::future_error if the shard ends before it has called `fn`. If it ends while the
///          future that `fn` returned is pending, the result is never ready
/// thread   any that is not a shard's; the host must outlive the call, not the result
template <typename Fn>
auto call_from_outside(host& owner, shard_id to, Fn fn)
    -> std::future<typename detail::futurized<std::invoke_result_t<Fn&>>::value> {
    using R = typename detail::futurized<std::invoke_result_t<Fn&>>::value;
    using call = detail::foreign_call<Fn, R>;
    auto work = std::make_unique<call>(std::move(fn));
    auto result = work->result();
    std::unique_ptr<foreign_work> posted = std::move(work);
    if (!owner.at(to).port().try_post(posted)) {
        static_cast<call&>(*posted).refuse(
            make_failure("call", "a shard from outside", errc::overloaded));
    }
    return result;
}

}  // namespace weir
