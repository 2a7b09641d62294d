// SPDX-License-Identifier: Apache-2.0
#include <broker/server/errand.hh>

#include <utility>

#include <weir/core/host.hh>

namespace weir::broker {

void errand_returns::start() {
    _lanes.resize(this_host().shard_count());
    const begins_anew nobody_waits;
    for (shard_id home = 0; home < _lanes.size(); ++home) {
        if (home != this_shard().id()) {
            bring(home, _loops.hold()).ignore();
        }
    }
}

void errand_returns::add(shard_id home, errand& ended) noexcept {
    lane& to = _lanes[home];
    (to.last == nullptr ? to.first : to.last->_next) = &ended;
    to.last = &ended;
    if (std::exchange(to.idle, false)) {
        to.news.set_value();
    }
}

// A loop that is there from the start: what has ended is told also where there is no memory.
future<> errand_returns::bring(shard_id home, gate::holder) {
    lane& of = _lanes[home];
    while (of.first != nullptr || !_closing) {
        if (of.first == nullptr) {
            of.news = {};
            of.idle = true;
            co_await of.news.get_future();
            continue;
        }
        errand* const gathered = std::exchange(of.first, nullptr);
        errand* const last = std::exchange(of.last, nullptr);
        future<> told = futurize([home, gathered] {
            return on(home, [gathered] {
                for (errand* each = gathered; each != nullptr;) {
                    errand* const next = each->_next;
                    each->come_home();  // it may be gone soon
                    each = next;
                }
            });
        });
        co_await settled(told);
        if (told.failed()) {
            // Nothing was sent, for want of memory for the call or for the lane that it goes by.
            std::move(told).ignore();
            last->_next = of.first;
            of.last = of.last == nullptr ? last : of.last;
            of.first = gathered;
        }
        co_await yield();
    }
}

future<> errand_returns::close() {
    _closing = true;
    for (lane& each : _lanes) {
        if (std::exchange(each.idle, false)) {
            each.news.set_value();
        }
    }
    return _loops.close();
}

}  // namespace weir::broker
