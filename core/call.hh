// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <new>
#include <optional>

#include <weir/core/future.hh>
#include <weir/core/mesh.hh>

namespace weir {

namespace detail {

template <typename R>
inline constexpr bool travels_inline =
    std::is_void_v<R> ||
    (std::is_trivially_copyable_v<stored<R>> && sizeof(stored<R>) <= sizeof(call_reply::value) &&
     alignof(stored<R>) <= 8);

template <typename Fn>
inline constexpr bool sent_inline =
    std::is_trivially_copyable_v<Fn> && sizeof(Fn) <= sizeof(call_message::callable) &&
    alignof(Fn) <= 8;

/// A call of `fn`, which returns R or future<R>, on another shard.
template <typename Fn>
class remote_call final : public call_record, public pooled {
  public:
    using returned = std::invoke_result_t<Fn&>;
    using R = typename futurized<returned>::value;

    remote_call(Fn&& fn, task_context context, instant deadline)
        : call_record(context, deadline), _fn(std::move(fn)) {}

    future<R> result() noexcept { return _promise.get_future(); }
    void refuse(std::exception_ptr failure) noexcept override {
        _promise.set_failure(std::move(failure));
        delete this;
    }

    void write(call_message& slot) noexcept override {
        slot.invoke = &invoke;
        if constexpr (sent_inline<Fn>) {
            std::memcpy(slot.callable, &_fn, sizeof(Fn));
        }
    }

    void finish(const call_reply& reply) noexcept override {
        if (reply.in_record && _failure) {
            _promise.set_failure(std::move(_failure));
        } else if constexpr (std::is_void_v<R>) {
            _promise.set_value();
        } else if constexpr (travels_inline<R>) {
            _promise.set_value(*std::launder(reinterpret_cast<const R*>(reply.value)));
        } else {
            _promise.set_value(std::move(*_large));
        }
        delete this;
    }

  private:
    // Runs the callable on the callee's shard until the future it returned is settled: owns the
    // copy of a small callable, refers to a large one in the caller's record.
    class handler final : public task, public pooled {
      public:
        handler(const call_message& call, shard_id from) : _record(record_of(call)), _from(from) {
            if constexpr (sent_inline<Fn>) {
                std::memcpy(_copy, call.callable, sizeof(Fn));
            }
        }
        void start() noexcept {
            _result = futurize(callable());
            if (_result.available()) {
                run();
            } else {
                _result.set_waiter(*this);
            }
        }
        void run() noexcept override {
            answer(_record, _from, std::move(_result));
            delete this;
        }

      private:
        Fn& callable() noexcept {
            if constexpr (sent_inline<Fn>) {
                return *std::launder(reinterpret_cast<Fn*>(_copy));
            } else {
                return _record->_fn;
            }
        }
        remote_call* _record;
        shard_id _from;
        future<R> _result;
        alignas(8) std::byte _copy[sent_inline<Fn> ? sizeof(Fn) : 1];
    };

    static remote_call* record_of(const call_message& call) noexcept {
        return static_cast<remote_call*>(call.record);
    }

    /// A callable that returns no future is answered at once: the call waits for nothing that it
    /// starts.
    struct waited_by_nobody {
        waited_by_nobody() noexcept { this_shard().set_context({this_shard().context().group}); }
    };

    static void invoke(const call_message& call, shard_id from) noexcept {
        if (call.deadline != never && this_shard().now() > call.deadline) {
            answer(record_of(call), from,
                   future<R>::failed_with(make_failure("call", "another shard", errc::timed_out)));
        } else if constexpr (is_future<returned>::value) {
            handler* waiting = nullptr;
            try {
                waiting = new handler(call, from);
            } catch (const std::bad_alloc&) {
                answer(record_of(call), from, future<R>::failed_with(std::current_exception()));
                return;
            }
            waiting->start();
        } else if constexpr (sent_inline<Fn>) {
            const waited_by_nobody alone;
            alignas(8) std::byte copy[sizeof(Fn)];
            std::memcpy(copy, call.callable, sizeof(Fn));
            answer(record_of(call), from, futurize(*std::launder(reinterpret_cast<Fn*>(copy))));
        } else {
            const waited_by_nobody alone;
            answer(record_of(call), from, futurize(record_of(call)->_fn));
        }
    }

    static void answer(remote_call* record, shard_id to, future<R>&& result) noexcept {
        call_reply& reply = this_shard().port().reply(to);
        reply.record = record;
        reply.in_record = false;
        if (result.failed()) {
            record->_failure = result.take_failure();
            reply.in_record = true;
        } else if constexpr (std::is_void_v<R>) {
            result.take();
        } else if constexpr (travels_inline<R>) {
            new (reply.value) R(result.take());
        } else {
            record->_large.emplace(result.take());
            reply.in_record = true;
        }
    }

    promise<R> _promise;
    std::exception_ptr _failure;
    [[no_unique_address]] std::conditional_t<travels_inline<R>, nothing, std::optional<stored<R>>>
        _large;
    [[no_unique_address]] Fn _fn;
};

}  // namespace detail

/// Calls `fn` on shard `to` and brings its result back. `fn` runs there by reference, or as a copy
/// of itself if it is small and trivially copyable; what it owns is destroyed here.
/// fn        returns a value, nothing or a future; arguments that it captures by reference stay
///           here and must be safe to read there
/// deadline  the call fails with errc::timed_out if it could not be started by then, or has no
///           credit yet
/// fails     as `fn` does; errc::overloaded if calls are nested deeper than mesh_options::depths
/// thread    any shard; on `to` itself `fn` runs at once
/// group     the caller's, which pays; where another group should run first it waits in line
/// cost      one 64-byte slot each way; no allocation after warm-up; waits in line when
///           mesh_options::call_credits calls to that shard are under way
template <typename Fn>
auto on(shard_id to, Fn fn, instant deadline = never) ->
    typename detail::futurized<std::invoke_result_t<Fn&>>::type {
    shard& here = this_shard();
    if (to == here.id()) {
        return make_ready_future().then(std::move(fn));
    }
    here.check_peer(to);
    auto* call = new detail::remote_call<Fn>(std::move(fn), here.context(), deadline);
    auto result = call->result();
    if (!here.port().send(to, *call)) [[unlikely]] {
        call->refuse(make_failure("call", "another shard", errc::overloaded));
    }
    return result;
}

}  // namespace weir
