// SPDX-License-Identifier: Apache-2.0
#include <weir/core/abort.hh>

namespace weir {

abort_source::~abort_source() {
    while (!_subscribers.empty()) {
        _subscribers.front().unsubscribe();
    }
}

bool abort_source::request() noexcept {
    return !requested() && request(make_failure("wait", "abort_source", errc::aborted));
}

bool abort_source::request(std::exception_ptr reason) noexcept {
    if (requested()) {
        return false;
    }
    _reason = std::move(reason);
    _deadline.cancel();
    _parent_link.unsubscribe();
    // A subscriber may unsubscribe or destroy others, so we look at the front afresh each time.
    while (!_subscribers.empty()) {
        abort_subscription& next = _subscribers.front();
        next.unsubscribe();
        next.on_abort(_reason);
    }
    return true;
}

void abort_source::abort_at(instant due) {
    _deadline.cancel();
    if (due != never && !requested()) {
        _deadline.arm(due);
    }
}

void abort_source::link(abort_source& parent) {
    if (!parent.subscribe(_parent_link)) {
        request(parent.reason());
    }
}

void abort_source::deadline_timer::fire() noexcept {
    own.request(make_failure("wait", "with a deadline", errc::timed_out));
}

}  // namespace weir
