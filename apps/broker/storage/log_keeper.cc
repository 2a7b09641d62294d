// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log_keeper.hh>

#include <algorithm>
#include <new>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

void reopen_options::check() const {
    if (wait_min <= duration(0) || wait_min > wait_max) {
        throw error("check reopen options", "wait_min, wait_max: above 0, in order",
                    errc::malformed);
    }
}

void log_keeper::watch(log& kept) {
    _watched.emplace_back(*this, kept);
}

std::size_t log_keeper::stopped() const noexcept {
    return static_cast<std::size_t>(std::count_if(
        _watched.begin(), _watched.end(), [](const watched& each) { return each.of.stopped(); }));
}

void log_keeper::watched::end_moved() noexcept {
    if (!of.stopped() || under_way || damaged || by._closing.requested()) {
        return;
    }
    if (this_shard().now() - reopened >= by._options.wait_max) {
        attempts = 0;
    }
    under_way = true;
    try {
        by.bring_back(*this, by._attempts.hold()).ignore();
    } catch (const std::bad_alloc&) {
        under_way = false;  // look() tries again
        missed = true;
    }
}

void log_keeper::look() noexcept {
    for (watched& each : _watched) {
        if (std::exchange(each.missed, false)) {
            each.end_moved();
        }
    }
}

// Never fails: a log that does not come back stays stopped, and says so.
future<> log_keeper::bring_back(watched& stopped, gate::holder inside) {
    while (stopped.of.stopped() && !stopped.damaged && !_closing.requested() &&
           (!_options.attempts_max || stopped.attempts < *_options.attempts_max)) {
        const unsigned doublings = std::min(stopped.attempts, 30U);
        try {
            co_await sleep_for(
                std::min(_options.wait_max, _options.wait_min * (std::int64_t{1} << doublings)),
                _closing);
            const semaphore_units turn = co_await _turn.acquire(1, _closing);
            co_await try_once(stopped);
        } catch (const std::exception&) {
            // The store closes, or there is no memory now, which others may give back.
        }
        co_await yield();
    }
    if (stopped.of.stopped() && !_closing.requested()) {
        try {
            co_await stopped.of.let_go();
        } catch (const std::exception&) {
            // There is no memory for it, or what could not be written can't be closed either.
        }
    }
    stopped.under_way = false;
    if (stopped.of.stopped() && !_closing.requested()) {
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::error, "log stays stopped until a restart",
                         {{"directory", stopped.of.directory()}, {"tries", stopped.attempts}});
    }
}

future<> log_keeper::try_once(watched& stopped) {
    ++stopped.attempts;
    shard& here = this_shard();
    const auto tell = [&](const char* cause) {
        here.log().write(
            here.log_context(), log_level::warning, "log not reopened",
            {{"directory", stopped.of.directory()}, {"cause", cause}, {"tries", stopped.attempts}});
    };
    try {
        co_await stopped.of.reopen();
        stopped.reopened = here.now();
        here.log().write(here.log_context(), log_level::info, "log reopened",
                         {{"directory", stopped.of.directory()}, {"tries", stopped.attempts}});
    } catch (const error& e) {
        stopped.damaged = e.is(errc::corrupt);
        tell(e.what());
    } catch (const std::bad_alloc&) {
        tell("no memory");
    }
}

future<> log_keeper::close() {
    _closing.request();
    return _attempts.close();
}

}  // namespace weir::broker
