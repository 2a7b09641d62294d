// SPDX-License-Identifier: Apache-2.0
#include <weir/core/semaphore.hh>

namespace weir {

future<semaphore_units> semaphore::acquire(std::size_t count, abort_source* source) {
    if (_closed) {
        return make_failed_future<semaphore_units>(error("acquire", "semaphore", errc::closed));
    }
    if (source != nullptr && source->requested()) {
        return make_failed_future<semaphore_units>(source->reason());
    }
    if (_first == nullptr && _available >= count) {
        _available -= count;
        return make_ready_future<semaphore_units>(*this, count);
    }
    auto* added = new waiter(*this, count);
    (_last ? _last->_next : _first) = added;
    added->_previous = std::exchange(_last, added);
    ++_waiting;
    if (source != nullptr) {
        const bool subscribed = source->subscribe(*added);
        WEIR_ASSERT(subscribed);
    }
    return added->_promise.get_future();
}

void semaphore::serve() noexcept {
    while (_first != nullptr) {
        waiter& next = *_first;
        if (next._promise.wanted()) {
            if (next._count > _available) {
                return;
            }
            _available -= next._count;
            next._promise.set_value(*this, next._count);
        }
        leave_line(next);
        delete &next;
    }
}

void semaphore::fail(waiter& unlucky, const std::exception_ptr& reason) noexcept {
    if (unlucky._promise.wanted()) {
        unlucky._promise.set_failure(reason);
    }
    leave_line(unlucky);
    delete &unlucky;
}

void semaphore::leave_line(waiter& leaving) noexcept {
    (leaving._previous ? leaving._previous->_next : _first) = leaving._next;
    (leaving._next ? leaving._next->_previous : _last) = leaving._previous;
    --_waiting;
}

void semaphore::close() noexcept {
    _closed = true;
    const auto closed = std::make_exception_ptr(error("acquire", "semaphore", errc::closed));
    while (_first != nullptr) {
        fail(*_first, closed);
    }
}

}  // namespace weir
