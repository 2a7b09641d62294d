// SPDX-License-Identifier: Apache-2.0
#include <broker/server/progress.hh>

#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/timer.hh>

namespace weir::broker {

/// Ends a wait, whichever of its reasons comes first.
struct progress_board::waiter final : timer {
    const instant began = this_shard().now();
    promise<> over;
    bool hurried = false;
    void end() noexcept {
        if (over.open()) {
            over.set_value();
        }
    }

  protected:
    void fire() noexcept override { end(); }
};

future<bool> progress_board::wait(fetch_ticket ticket, instant deadline, abort_source& ended) {
    waiter own;
    future<> over = own.over.get_future();
    own.arm(deadline);
    if (_ended) {
        own.end();
    }
    _waiters.emplace(ticket.number, &own);
    {
        const abort_callback on_end(ended, [&own](const std::exception_ptr&) { own.end(); });
        co_await std::move(over);
    }
    _waiters.erase(ticket.number);
    co_return !own.hurried;
}

void progress_board::called(std::uint64_t number) noexcept {
    // A fetch that ended in the meantime is not there any more.
    if (const auto found = _waiters.find(number); found != _waiters.end()) {
        found->second->end();
    }
}

void progress_board::hurry(duration patience) noexcept {
    for (const auto& [number, each] : _waiters) {
        const instant due = each->began + patience;
        if (each->armed() && each->due() > due) {
            each->hurried = true;
            each->arm(due);
        }
    }
}

void progress_board::end_waits() noexcept {
    _ended = true;
    for (const auto& [number, each] : _waiters) {
        each->end();
    }
}

void progress_board::leave_ticket(std::string_view topic, std::int32_t partition,
                                  fetch_ticket ticket) {
    const auto at = _tickets.find(by_name::key(topic, partition));
    if (at != _tickets.end()) {
        at->second.insert(ticket);
        return;
    }
    std::set<fetch_ticket> first{ticket};
    _tickets.try_emplace({std::string(topic), partition}, std::move(first));
}

void progress_board::take_ticket(std::string_view topic, std::int32_t partition,
                                 fetch_ticket ticket) noexcept {
    const auto found = _tickets.find(by_name::key(topic, partition));
    if (found != _tickets.end()) {
        found->second.erase(ticket);
        if (found->second.empty()) {
            _tickets.erase(found);
        }
    }
}

std::set<fetch_ticket> progress_board::grown(const topic_partition& at) noexcept {
    const auto found = _tickets.find(at);
    if (found == _tickets.end()) {
        return {};
    }
    std::set<fetch_ticket> tickets = std::move(found->second);
    _tickets.erase(found);
    return tickets;
}

}  // namespace weir::broker
