// SPDX-License-Identifier: Apache-2.0
#include <weir/core/timer.hh>

#include <weir/core/shard.hh>

namespace weir {

void timer::arm(instant due) {
    this_shard().timers().arm(*this, due);
}

bool timer::cancel() noexcept {
    if (!armed()) {
        return false;
    }
    this_shard().timers().cancel(*this);
    return true;
}

void timer_heap::place(timer& moved, std::size_t at) noexcept {
    _heap[at] = &moved;
    moved._place = at;
}

void timer_heap::sift_up(std::size_t at) noexcept {
    timer& moved = *_heap[at];
    while (at > 0) {
        const std::size_t parent = (at - 1) / 2;
        if (_heap[parent]->_due <= moved._due) {
            break;
        }
        place(*_heap[parent], at);
        at = parent;
    }
    place(moved, at);
}

void timer_heap::sift_down(std::size_t at) noexcept {
    timer& moved = *_heap[at];
    for (;;) {
        std::size_t child = 2 * at + 1;
        if (child >= _heap.size()) {
            break;
        }
        if (child + 1 < _heap.size() && _heap[child + 1]->_due < _heap[child]->_due) {
            ++child;
        }
        if (moved._due <= _heap[child]->_due) {
            break;
        }
        place(*_heap[child], at);
        at = child;
    }
    place(moved, at);
}

void timer_heap::arm(timer& added, instant due) {
    if (added.armed()) {
        cancel(added);
    }
    _heap.push_back(&added);
    added._due = due;
    added._place = _heap.size() - 1;
    sift_up(added._place);
}

void timer_heap::cancel(timer& removed) noexcept {
    const std::size_t hole = removed._place;
    removed._place = timer::unarmed;
    timer& last = *_heap.back();
    _heap.pop_back();
    if (&last != &removed) {
        place(last, hole);
        sift_down(hole);
        sift_up(last._place);
    }
}

std::size_t timer_heap::expire(instant now) noexcept {
    std::size_t fired = 0;
    while (!_heap.empty() && _heap.front()->_due <= now) {
        timer& due = *_heap.front();
        cancel(due);
        due.fire();
        ++fired;
    }
    return fired;
}

}  // namespace weir
