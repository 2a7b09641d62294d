// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include <weir/core/wait_line.hh>

namespace weir {

/// A future that many may wait for: each get_future() gives a future with a copy of the value, or
/// with the failure. A failure that nobody asked for is counted as ignored.
/// thread   one shard, for life
template <typename T = void>
class shared_future {
  public:
    shared_future() = default;
    explicit shared_future(future<T> source) : _state(std::make_shared<state>()) {
        state::start(_state, std::move(source));
    }

    bool valid() const noexcept { return _state != nullptr; }
    bool available() const noexcept { return _state->value || _state->failure; }
    bool failed() const noexcept { return _state->failure != nullptr; }

    /// source   fails this wait alone
    future<T> get_future() const { return _state->get(nullptr); }
    future<T> get_future(abort_source& source) const { return _state->get(&source); }

  private:
    struct state final : wait_line<T> {
        std::optional<detail::stored<T>> value;
        std::exception_ptr failure;
        origin made;
        bool looked_at = false;

        ~state() {
            if (failure && !looked_at) {
                this_shard().report_ignored(failure, made);
            }
        }

        static void start(const std::shared_ptr<state>& own, future<T> source) {
            if (source.available()) {
                own->settle(std::move(source));
                return;
            }
            // The wait keeps the state: whoever waits gets an answer even if no handle is left.
            std::move(source)
                .then_wrapped([own](future<T> settled) { own->settle(std::move(settled)); })
                .ignore();
        }

        void settle(future<T> source) {
            if (source.failed()) {
                made = source.made();
                failure = source.take_failure();
                looked_at = looked_at || this->first() != nullptr;
                this->fail_all(failure);
                return;
            }
            if constexpr (std::is_void_v<T>) {
                source.take();
                value.emplace();
            } else {
                value.emplace(source.take());
            }
            while (this->first() != nullptr) {
                if constexpr (std::is_void_v<T>) {
                    this->serve_first();
                } else {
                    this->serve_first(*value);
                }
            }
        }

        future<T> get(abort_source* source) {
            if (failure) {
                looked_at = true;
                return future<T>::failed_with(failure);
            }
            if (!value) {
                return this->wait(source);
            }
            if constexpr (std::is_void_v<T>) {
                return make_ready_future();
            } else {
                return make_ready_future<T>(*value);
            }
        }
    };

    std::shared_ptr<state> _state;
};

}  // namespace weir
