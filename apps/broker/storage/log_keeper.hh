// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>

#include <broker/storage/log.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/gate.hh>
#include <weir/core/semaphore.hh>
#include <weir/core/time.hh>

namespace weir::broker {

/// How a log that a failed write or sync has stopped is brought back.
struct reopen_options {
    /// Tries in a row; then it stays stopped until a restart. None: it is tried for ever. 0: never.
    /// The row ends when the log has served for wait_max.
    std::optional<unsigned> attempts_max;
    /// Before the first try; doubled with each, up to the longest.
    duration wait_min = std::chrono::milliseconds(100);
    duration wait_max = std::chrono::seconds(30);

    /// fails    throws errc::malformed, naming the option
    void check() const;
};

/// Reopens the logs of a shard that have stopped, one at a time. Until it succeeds a log refuses
/// appends and goes on with reads; what was acknowledged stays.
/// thread   one shard
class log_keeper {
  public:
    explicit log_keeper(const reopen_options& options) : _options(options) {}
    log_keeper(const log_keeper&) = delete;
    log_keeper& operator=(const log_keeper&) = delete;

    /// Looks after a log, which must not be closed before close().
    void watch(log& kept);
    /// Begins what found no memory when its log stopped. Now and then.
    void look() noexcept;
    /// Logs that are stopped now.
    std::size_t stopped() const noexcept;
    /// Ends the waits, and waits for a reopening that is under way. Once.
    future<> close();

  private:
    struct watched final : end_listener {
        watched(log_keeper& keeper, log& kept) : by(keeper), of(kept) { kept.listen(*this); }
        void end_moved() noexcept override;

        log_keeper& by;
        log& of;
        unsigned attempts = 0;  // in this row
        bool damaged = false;   // it will not become whole by waiting
        instant reopened{};
        bool under_way = false;
        bool missed = false;  // there was no memory to begin
    };

    future<> bring_back(watched& stopped, gate::holder inside);
    future<> try_once(watched& stopped);

    const reopen_options _options;
    std::deque<watched> _watched;
    semaphore _turn{1};
    abort_source _closing;
    gate _attempts;
};

}  // namespace weir::broker
