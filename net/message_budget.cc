// SPDX-License-Identifier: Apache-2.0
#include <weir/net/message_budget.hh>

#include <algorithm>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/shard.hh>

namespace weir::net {

void message_budget_options::check(std::size_t message_bytes_max) const {
    const auto refuse = [](const char* what) {
        throw error("set up", std::string("budget of messages (") + what + ')', errc::malformed);
    };
    if (finish_bytes < message_bytes_max) {
        refuse("finish_bytes is less than one message");
    }
    if (bytes < finish_bytes || bytes - finish_bytes <= whole_bytes) {
        refuse("bytes leaves nothing beside finish_bytes and whole_bytes");
    }
}

message_charge::message_charge(message_charge&& other) noexcept {
    *this = std::move(other);
}

message_charge& message_charge::operator=(message_charge&& other) noexcept {
    if (this != &other) {
        give_back();
        WEIR_ASSERT(other._asked == 0);
        _owner = std::exchange(other._owner, nullptr);
        _general = std::exchange(other._general, 0);
        _whole = std::exchange(other._whole, 0);
        _finish = std::exchange(other._finish, 0);
        _claim = std::exchange(other._claim, 0);
    }
    return *this;
}

void message_charge::give_back() noexcept {
    if (message_budget* owner = std::exchange(_owner, nullptr)) {
        owner->leave(*this);
    }
}

void message_budget::line::add(message_charge& added) noexcept {
    added._previous = std::exchange(last, &added);
    (added._previous != nullptr ? added._previous->_next : first) = &added;
    ++size;
}

void message_budget::line::remove(message_charge& leaving) noexcept {
    (leaving._previous != nullptr ? leaving._previous->_next : first) = leaving._next;
    (leaving._next != nullptr ? leaving._next->_previous : last) = leaving._previous;
    leaving._previous = leaving._next = nullptr;
    --size;
}

namespace {
std::size_t less(std::size_t from, std::size_t taken) noexcept {
    return from - std::min(from, taken);
}
}  // namespace

// Options that don't add up are refused by check(); here they leave a part of nothing.
message_budget::message_budget(const message_budget_options& options) noexcept
    : _options(options),
      _general{.limit = less(less(options.bytes, options.finish_bytes), options.whole_bytes)},
      _whole{.limit = options.whole_bytes},
      _finish{.limit = options.finish_bytes} {}

message_budget::~message_budget() {
    WEIR_ASSERT(bytes_used() == 0 && waiting() == 0 &&
                "who uses a message_budget ends before it is destroyed");
}

future<> message_budget::charge(message_charge& held, std::size_t bytes, std::size_t message,
                                bool whole) {
    WEIR_ASSERT(held._asked == 0 && (held._owner == nullptr || held._owner == this));
    if (bytes <= held.bytes()) {
        return make_ready_future();
    }
    if (std::max(bytes, message) > _finish.limit) {
        return make_failed_future(
            make_failure("receive", "message larger than finish_bytes", errc::limit_exceeded));
    }
    held._owner = this;
    held._asked = bytes - held.bytes();
    held._left = std::max(bytes, message) - held.bytes();
    whole = whole && held._asked <= _whole.limit;
    held._came = whole;
    if (take_now(held, whole)) {
        held._asked = 0;
        return make_ready_future();
    }
    ++_counters.waits;
    future<> granted = held._granted.get_future();
    (whole ? _come : _growing).add(held);
    serve();
    return granted;
}

// Nobody overtakes, but for finishers, who must never wait, and for what has come whole.
bool message_budget::take_now(message_charge& held, bool whole) noexcept {
    if (_growing.size == 0 && _general.fits(held._asked)) {
        take(held, &message_charge::_general, _general);
    } else if (held._claim - held._finish >= held._asked) {
        take(held, &message_charge::_finish, _finish);
    } else if (whole && _come.size == 0 && _whole.fits(held._asked)) {
        take(held, &message_charge::_whole, _whole);
    } else {
        return false;
    }
    return true;
}

void message_budget::take(message_charge& held, std::size_t message_charge::* share,
                          part& from) noexcept {
    WEIR_ASSERT(from.fits(held._asked));
    from.used += held._asked;
    held.*share += held._asked;
}

void message_budget::grant(line& of, message_charge& waiter) noexcept {
    of.remove(waiter);
    waiter._asked = 0;
    waiter._granted.set_value();
}

void message_budget::serve() noexcept {
    while (_growing.first != nullptr && _general.fits(_growing.first->_asked)) {
        take(*_growing.first, &message_charge::_general, _general);
        grant(_growing, *_growing.first);
    }
    appoint_finishers();
    while (_come.first != nullptr) {
        message_charge& first = *_come.first;
        if (_growing.size == 0 && _general.fits(first._asked)) {
            take(first, &message_charge::_general, _general);
        } else if (_whole.fits(first._asked)) {
            take(first, &message_charge::_whole, _whole);
        } else {
            break;
        }
        grant(_come, first);
    }
}

// The first is the one with least to come, whose claim always fits: that is the law. Those after it
// come in line. cost: for the first a look at all who wait.
void message_budget::appoint_finishers() noexcept {
    if (_growing.first != nullptr && _claimed == 0) {
        message_charge* nearest = _growing.first;
        for (message_charge* each = nearest->_next; each != nullptr; each = each->_next) {
            nearest = each->_left < nearest->_left ? each : nearest;
        }
        appoint(*nearest);
    }
    while (_growing.first != nullptr && _growing.first->_left <= _finish.limit - _claimed) {
        appoint(*_growing.first);
    }
}

void message_budget::appoint(message_charge& waiter) noexcept {
    ++_counters.finished;
    waiter._claim += waiter._left;
    _claimed += waiter._left;
    take(waiter, &message_charge::_finish, _finish);
    grant(_growing, waiter);
}

void message_budget::leave(message_charge& leaving) noexcept {
    if (std::exchange(leaving._asked, 0) != 0) {
        (leaving._came ? _come : _growing).remove(leaving);
    }
    _general.used -= std::exchange(leaving._general, 0);
    _whole.used -= std::exchange(leaving._whole, 0);
    _finish.used -= std::exchange(leaving._finish, 0);
    _claimed -= std::exchange(leaving._claim, 0);
    serve();
}

void message_budget::register_metrics(const std::string& name) {
    metrics& registry = this_shard().metrics();
    const std::vector<metric_label> labels{{"budget", name}};
    const auto gauge = [&](const char* series, const char* help, std::function<double()> read) {
        _metrics.push_back(registry.gauge({series, help, labels}, std::move(read)));
    };
    gauge("weir_net_message_bytes", "Bytes of messages that are here.",
          [this] { return static_cast<double>(bytes_used()); });
    gauge("weir_net_message_bytes_limit", "Bytes of messages that may be here.",
          [this] { return static_cast<double>(_options.bytes); });
    gauge("weir_net_messages_waiting", "Messages that wait for room.",
          [this] { return static_cast<double>(waiting()); });
    _metrics.push_back(registry.counter(
        {"weir_net_message_waits_total", "Times that a message waited for room.", labels},
        &_counters.waits));
    _metrics.push_back(registry.counter(
        {"weir_net_messages_finished_total", "Messages that the reserve had to help.", labels},
        &_counters.finished));
}

}  // namespace weir::net
