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
    if (first() == nullptr && _available >= count) {
        _available -= count;
        return make_ready_future<semaphore_units>(*this, count);
    }
    return wait(source, count);
}

void semaphore::serve() noexcept {
    while (const std::size_t* asked = first()) {
        if (*asked > _available) {
            return;
        }
        _available -= *asked;
        serve_first(*this, *asked);
    }
}

void semaphore::close() noexcept {
    _closed = true;
    fail_all(make_failure("acquire", "semaphore", errc::closed));
}

}  // namespace weir
