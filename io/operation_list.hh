// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/io/backend.hh>

namespace weir::io {

/// A list of operations through their own links: allocates nothing, takes any out in one step.
class operation_list {
  public:
    bool empty() const noexcept { return _first == nullptr; }
    operation* first() const noexcept { return _first; }

    void push_back(operation& work) noexcept {
        work.next = nullptr;
        work.previous = _last;
        (_last == nullptr ? _first : _last->next) = &work;
        _last = &work;
    }
    void push_front(operation& work) noexcept {
        work.previous = nullptr;
        work.next = _first;
        (_first == nullptr ? _last : _first->previous) = &work;
        _first = &work;
    }
    void remove(operation& work) noexcept {
        (work.previous == nullptr ? _first : work.previous->next) = work.next;
        (work.next == nullptr ? _last : work.next->previous) = work.previous;
        work.next = work.previous = nullptr;
    }
    operation& pop_front() noexcept {
        operation& work = *_first;
        remove(work);
        return work;
    }
    /// Takes the whole list, so that what is added meanwhile waits for the next time.
    operation_list take() noexcept {
        operation_list all = *this;
        *this = {};
        return all;
    }

  private:
    operation* _first = nullptr;
    operation* _last = nullptr;
};

}  // namespace weir::io
