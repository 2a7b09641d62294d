// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/metrics.hh>

namespace weir::net {

class message_budget;

struct message_budget_options {
    std::size_t bytes = 256 * 1024 * 1024;  ///< of messages that are here, a shard
    /// Of these, for messages that are finished when there is no room for others: as many as fit
    /// with all that is still to come of them. The largest fits, so that one always can be.
    std::size_t finish_bytes = 128 * 1024 * 1024;
    /// Of these, for messages that have come whole: slow peers and large messages never hold it.
    std::size_t whole_bytes = 16 * 1024 * 1024;

    /// fails    weir::error (malformed) with what is wrong with them, for messages of so many bytes
    void check(std::size_t message_bytes_max) const;
};

struct message_budget_counters {
    std::uint64_t waits = 0;     ///< messages that waited for room
    std::uint64_t finished = 0;  ///< messages that finish_bytes had to help
};

/// What one message holds of a budget; given back at its end.
class message_charge {
  public:
    message_charge() noexcept = default;
    /// Not while it waits.
    message_charge(message_charge&& other) noexcept;
    message_charge& operator=(message_charge&& other) noexcept;
    /// One that waits leaves the line.
    ~message_charge() { give_back(); }

    std::size_t bytes() const noexcept { return _general + _whole + _finish; }
    void give_back() noexcept;

  private:
    friend class message_budget;

    message_budget* _owner = nullptr;
    std::size_t _general = 0;
    std::size_t _whole = 0;
    std::size_t _finish = 0;
    std::size_t _claim = 0;  // of finish_bytes, what it holds included; then it is a finisher
    // While it waits.
    std::size_t _asked = 0;
    std::size_t _left = 0;  // to come, and what it asked for included
    bool _came = false;     // whole
    message_charge* _previous = nullptr;
    message_charge* _next = nullptr;
    promise<> _granted;
};

/// Memory for messages that come bit by bit from many peers. It is charged as bytes come and
/// memory is taken for them, never for what a peer promises. When it is used up, messages wait
/// where they are, and hold what they hold; some of them, first the one with least to come, may
/// draw on a reserve in which all that is to come of them fits. So one after the other is finished,
/// and goes: there is no deadlock as long as finished messages do. What has come whole doesn't wait
/// behind them.
/// thread   one shard
class message_budget {
  public:
    explicit message_budget(const message_budget_options& options) noexcept;
    ~message_budget();
    message_budget(const message_budget&) = delete;
    message_budget& operator=(const message_budget&) = delete;

    /// Makes `held` cover `bytes` of a message that will have `message` of them, never more than
    /// was said before: room for the rest may be claimed already. It stays where it is until the
    /// future is settled.
    /// whole    all of the message is there, and waits for no peer
    /// fails    limit_exceeded: the message is larger than finish_bytes
    /// cost     nothing allocated
    future<> charge(message_charge& held, std::size_t bytes, std::size_t message, bool whole);

    std::size_t bytes() const noexcept { return _options.bytes; }
    std::size_t bytes_used() const noexcept { return _general.used + _whole.used + _finish.used; }
    /// Bytes of the largest message that it takes.
    std::size_t largest() const noexcept { return _finish.limit; }
    std::size_t waiting() const noexcept { return _growing.size + _come.size; }
    const message_budget_counters& counters() const noexcept { return _counters; }
    /// Adds its series, with a label budget="`name`".
    void register_metrics(const std::string& name);

  private:
    friend class message_charge;
    struct part {
        std::size_t limit;
        std::size_t used = 0;
        bool fits(std::size_t bytes) const noexcept { return bytes <= limit - used; }
    };
    struct line {
        message_charge* first = nullptr;
        message_charge* last = nullptr;
        std::size_t size = 0;
        void add(message_charge& added) noexcept;
        void remove(message_charge& leaving) noexcept;
    };

    bool take_now(message_charge& held, bool whole) noexcept;
    void take(message_charge& held, std::size_t message_charge::* share, part& from) noexcept;
    void serve() noexcept;
    void appoint_finishers() noexcept;
    void appoint(message_charge& waiter) noexcept;
    void grant(line& of, message_charge& waiter) noexcept;
    void leave(message_charge& leaving) noexcept;

    const message_budget_options _options;
    part _general;
    part _whole;
    part _finish;
    line _growing;
    line _come;                // whole
    std::size_t _claimed = 0;  // of _finish, by finishers, each until it goes
    message_budget_counters _counters;
    std::vector<metrics::registration> _metrics;
};

}  // namespace weir::net
