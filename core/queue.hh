// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include <weir/core/wait_line.hh>

namespace weir {

/// A bounded queue between tasks of one shard. Who pushes into a full one waits, and so does who
/// pops from an empty one: first come, first served, on both sides.
/// thread   one shard, for life
template <typename T>
class queue {
  public:
    /// capacity  elements that wait inside; 0: each push waits for its pop
    explicit queue(std::size_t capacity) noexcept : _capacity(capacity) {}

    std::size_t size() const noexcept { return _elements.size(); }
    std::size_t capacity() const noexcept { return _capacity; }
    bool closed() const noexcept { return _closed; }

    /// Adds `element` when there is room.
    /// returns  false if the queue was closed first: the element is gone
    /// fails    with the reason of `source`: the element is gone
    future<bool> push(T element) { return push(std::move(element), nullptr); }
    future<bool> push(T element, abort_source& source) { return push(std::move(element), &source); }
    /// Adds `element` if there is room now.
    /// returns  false, and `element` as it was, if there is none or the queue is closed
    bool try_push(T&& element) {
        if (_closed) {
            return false;
        }
        if (_poppers.first() != nullptr) {
            _poppers.serve_first(std::move(element));
            return true;
        }
        if (_pushers.first() != nullptr || _elements.size() >= _capacity) {
            return false;
        }
        _elements.push_back(std::move(element));
        return true;
    }

    /// Takes the oldest element, when there is one.
    /// returns  nothing if the queue is closed and empty
    /// fails    with the reason of `source`
    future<std::optional<T>> pop() { return pop(nullptr); }
    future<std::optional<T>> pop(abort_source& source) { return pop(&source); }
    /// Takes the oldest element if there is one now.
    std::optional<T> try_pop() {
        std::optional<T> taken;
        if (!_elements.empty()) {
            taken.emplace(std::move(_elements.front()));
            _elements.pop_front();
            if (T* waiting = _pushers.first()) {
                _elements.push_back(std::move(*waiting));
                _pushers.serve_first(true);
            }
        } else if (T* waiting = _pushers.first()) {
            taken.emplace(std::move(*waiting));
            _pushers.serve_first(true);
        }
        return taken;
    }

    /// Takes no more: who waits to push is refused; what is inside can still be popped.
    void close() noexcept {
        _closed = true;
        while (_pushers.first() != nullptr) {
            _pushers.serve_first(false);
        }
        while (_poppers.first() != nullptr) {
            _poppers.serve_first(std::nullopt);
        }
    }

  private:
    template <typename Result, typename Asked>
    struct line final : wait_line<Result, Asked> {};

    future<bool> push(T&& element, abort_source* source) {
        if (source != nullptr && source->requested()) {
            return make_failed_future<bool>(source->reason());
        }
        if (_closed || try_push(std::move(element))) {
            return make_ready_future<bool>(!_closed);
        }
        return _pushers.wait(source, std::move(element));
    }
    future<std::optional<T>> pop(abort_source* source) {
        if (source != nullptr && source->requested()) {
            return make_failed_future<std::optional<T>>(source->reason());
        }
        if (std::optional<T> taken = try_pop(); taken || _closed) {
            return make_ready_future<std::optional<T>>(std::move(taken));
        }
        return _poppers.wait(source);
    }

    const std::size_t _capacity;
    bool _closed = false;
    std::deque<T> _elements;
    line<bool, T> _pushers;
    line<std::optional<T>, detail::nothing> _poppers;
};

}  // namespace weir
