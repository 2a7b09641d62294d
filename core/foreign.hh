// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <future>
#include <memory>
#include <utility>

#include <weir/core/future.hh>
#include <weir/core/host.hh>

namespace weir {

namespace detail {

template <typename Fn, typename R>
class foreign_call final : public foreign_work {
  public:
    explicit foreign_call(Fn&& fn) : _fn(std::move(fn)) {}

    std::future<R> result() { return _promise.get_future(); }
    void refuse(std::exception_ptr reason) { _promise.set_exception(std::move(reason)); }

    void run() noexcept override {
        make_ready_future()
            .then(std::move(_fn))
            .then_wrapped([promise = std::move(_promise)](weir::future<R> ended) mutable {
                settle(promise, std::move(ended));
            })
            .ignore();
    }

  private:
    static void settle(std::promise<R>& promise, weir::future<R> ended) {
        if (ended.failed()) {
            promise.set_exception(ended.take_failure());
        } else if constexpr (std::is_void_v<R>) {
            promise.set_value();
        } else {
            promise.set_value(ended.take());
        }
    }

    Fn _fn;
    std::promise<R> _promise;
};

}  // namespace detail

/// Calls `fn` on a shard for a thread that has none, such as main() or a test's. Everything that
/// `fn` owns is destroyed there.
/// fails    as `fn` does; errc::overloaded when mesh_options::foreign_calls wait already;
///          std::future_error if the shard ends first
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
