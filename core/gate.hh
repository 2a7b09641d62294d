// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <weir/core/coroutine.hh>

namespace weir {

/// Counts work that is under way, so that its owner can refuse more and wait for the end of it.
/// thread   one shard, for life
class gate {
  public:
    gate() = default;
    gate(const gate&) = delete;
    gate& operator=(const gate&) = delete;
    ~gate() {
        if (_inside != 0) [[unlikely]] {
            destroyed_too_soon("a gate with work inside", "", "close()");
        }
    }

    /// returns  false if the gate is closed
    [[nodiscard]] bool try_enter() noexcept {
        _inside += _closed ? 0 : 1;
        return !_closed;
    }
    /// fails    throws errc::closed
    void enter() {
        if (!try_enter()) {
            throw error("enter", "gate", errc::closed);
        }
    }
    void leave() noexcept {
        WEIR_ASSERT(_inside > 0);
        if (--_inside == 0 && _empty.open()) {
            _empty.set_value();
        }
    }

    /// Inside the gate for its life.
    class holder {
      public:
        holder() noexcept = default;
        explicit holder(gate& entered) : _gate(&entered) { entered.enter(); }
        holder(holder&& other) noexcept : _gate(std::exchange(other._gate, nullptr)) {}
        holder& operator=(holder&& other) noexcept {
            std::swap(_gate, other._gate);
            return *this;
        }
        ~holder() {
            if (_gate) {
                _gate->leave();
            }
        }

      private:
        gate* _gate = nullptr;
    };
    /// fails    throws errc::closed
    [[nodiscard]] holder hold() { return holder(*this); }

    /// Lets nobody in any more; the future is there when all have left. Once.
    future<> close() {
        WEIR_ASSERT(!_closed);
        _closed = true;
        return _inside == 0 ? make_ready_future() : _empty.get_future();
    }
    bool closed() const noexcept { return _closed; }
    std::size_t inside() const noexcept { return _inside; }

  private:
    std::size_t _inside = 0;
    bool _closed = false;
    promise<> _empty;
};

/// Calls `fn` inside the gate, which it leaves when the future that `fn` returned is settled.
/// fails    with errc::closed, or as `fn` does
template <typename Fn>
auto with_gate(gate& entered, Fn fn) ->
    typename detail::futurized<std::invoke_result_t<Fn&>>::type {
    const gate::holder inside = entered.hold();
    co_return co_await [&fn] {
        const begins_anew anew;
        return futurize(fn);
    }();
}

}  // namespace weir
