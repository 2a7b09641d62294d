// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/log.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <broker/protocol/batch.hh>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

error cause_of(const std::exception_ptr& failure, std::string_view operation,
               const std::string& subject) {
    try {
        std::rethrow_exception(failure);
    } catch (const error& e) {
        return {operation, subject + ": " + e.what(), e.code()};
    } catch (const std::exception& e) {
        return {operation, subject + ": " + e.what(),
                std::error_code(EIO, std::generic_category())};
    }
}

std::exception_ptr failure_of_append(const std::exception_ptr& why,
                                     const std::string& directory) noexcept {
    try {
        return std::make_exception_ptr(cause_of(why, "append", directory));
    } catch (...) {
        return std::current_exception();
    }
}

std::string text_of(const std::exception_ptr& why) noexcept {
    try {
        return cause_of(why, "append", "").what();
    } catch (...) {
        return {};  // no memory for it
    }
}

/// Whether nothing happened but that something was short that comes back by itself: space, quota,
/// descriptors, memory; or the wait for a place was ended. A sync that says so has lost data.
bool is_passing_want(const std::exception_ptr& failure) noexcept {
    try {
        std::rethrow_exception(failure);
    } catch (const error& e) {
        constexpr int wants[] = {ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM};
        return !e.operation().starts_with("sync") &&
               (e.is(errc::aborted) || std::any_of(std::begin(wants), std::end(wants),
                                                   [&e](int each) { return e.is_errno(each); }));
    } catch (const std::bad_alloc&) {
        return true;
    } catch (...) {
        return false;
    }
}

}  // namespace

log::log(std::string directory, log_options options, recent_memory& recent,
         read_ahead_memory* ahead, semaphore* mark_syncs, open_places* places, read_files* files,
         index_memory* indexes)
    : _directory(std::move(directory)),
      _options(options),
      _end_of_walks(std::make_shared<abort_source>()),
      _places(places),
      _read_files(files != nullptr ? *files : _own_files),
      _indexes(indexes != nullptr ? *indexes : _own_indexes),
      _mark_syncs(mark_syncs),
      _end_of_waits(std::make_unique<abort_source>()),
      _recent(recent),
      _ahead(ahead, options.max_followed_readers, _metrics.reads_ahead_dropped),
      _background(std::make_unique<gate>()) {
    _options.check();
}

log::~log() {
    WEIR_ASSERT(_closed || _metrics.appends == 0);
    _read_files.forget(this);
    _indexes.forget(this);
}

future<std::unique_ptr<log>> log::open(std::string directory, log_options options,
                                       recent_memory& recent, read_ahead_memory* ahead,
                                       semaphore* mark_syncs, abort_source* give_up,
                                       open_places* places, read_files* files,
                                       index_memory* indexes) {
    std::unique_ptr<log> opened(
        new log(std::move(directory), options, recent, ahead, mark_syncs, places, files, indexes));
    opened->_closed = true;  // until it is whole
    co_await opened->recover_segments(false, give_up);
    opened->_closed = false;
    co_return opened;
}

future<append_result> log::append(std::vector<std::byte> batches) {
    const std::span<std::byte> bytes = batches;  // which stay where they are when it is moved
    return append_in_line(bytes, std::move(batches));
}

future<append_result> log::append_borrowed(std::span<std::byte> batches) {
    return append_in_line(batches, {});
}

// Step 1: offsets are given in the order of the calls, and the append stands in line.
future<append_result> log::append_in_line(std::span<std::byte> batches,
                                          std::vector<std::byte> owned) {
    if (_closed) {
        return make_failed_future<append_result>(error("append", _directory, errc::closed));
    }
    if (stopped()) {
        ++_metrics.appends_failed;
        return make_failed_future<append_result>(
            cause_of(_failure, "append", _directory + " (stopped until it is reopened)"));
    }
    if (_metrics.waiting_bytes > 0 &&
        _metrics.waiting_bytes + batches.size() > _options.max_waiting_bytes) {
        ++_metrics.appends_refused;
        return make_failed_future<append_result>(error("append", _directory, errc::overloaded));
    }
    // The place in line first: once offsets are given, nothing here may fail.
    try {
        _pending.emplace_back();
    } catch (...) {
        return make_failed_future<append_result>(std::current_exception());
    }
    pending_append& added = _pending.back();
    try {
        added.next_offset = assign_offsets(batches);
    } catch (...) {
        _pending.pop_back();
        return make_failed_future<append_result>(std::current_exception());
    }
    added.batches = batches;
    added.owned = std::move(owned);
    added.base_offset = std::exchange(_next_offset, added.next_offset);
    ++_metrics.appends;
    _metrics.append_bytes += batches.size();
    _metrics.waiting_bytes += batches.size();
    future<append_result> result = added.done.get_future();
    if (!_committing) {
        start_committing(_background->hold());
    }
    return result;
}

std::int64_t log::assign_offsets(std::span<std::byte> batches) {
    // All are checked before any is changed.
    protocol::batch_walk check(batches);
    std::int64_t offsets = 0;
    while (const auto batch = check.next()) {
        if (batch->bytes().size() > _options.max_batch_bytes) {
            throw error("append", _directory + " (max_batch_bytes)", errc::limit_exceeded);
        }
        if (batch->last_offset_delta() < 0) {
            throw error("append", _directory, errc::malformed);
        }
        offsets += std::int64_t{batch->last_offset_delta()} + 1;
    }
    if (offsets == 0 || check.stopped() != protocol::batch_walk::stop::end) {
        throw error("append", _directory, errc::malformed);
    }
    if (batches.size() > _options.max_commit_bytes) {
        throw error("append", _directory + " (max_commit_bytes)", errc::limit_exceeded);
    }
    if (offsets > max_relative_offset || _next_offset > max_base_offset) {
        throw error("append", _directory + " (no such offsets)", errc::limit_exceeded);
    }
    std::int64_t next = _next_offset;
    protocol::batch_walk walk(batches);
    while (const auto batch = walk.next()) {
        const std::size_t at = batch->bytes().data() - batches.data();
        const std::span<std::byte> bytes = batches.subspan(at, batch->bytes().size());
        protocol::patch_base_offset(bytes, next);
        protocol::patch_leader_epoch(bytes, _options.leader_epoch);
        next += std::int64_t{batch->last_offset_delta()} + 1;
    }
    return next;
}

void log::start_committing(gate::holder inside) {
    _committing = true;
    std::exception_ptr failure;
    try {
        // It tells its failures to those who wait for the appends.
        commit_pending(std::move(inside)).ignore();
        return;
    } catch (...) {
        failure = std::current_exception();  // there was no memory for its frame
    }
    _committing = false;
    refuse_pending(failure);
}

// Step 2: one commit after the other, until nothing waits. Between two of them a log that has had
// its turn closes its files for others, and waits for its next one.
future<> log::commit_pending(gate::holder inside) {
    while (!_pending.empty()) {
        std::exception_ptr failure;
        try {
            co_await commit_next();
        } catch (...) {
            failure = std::current_exception();
        }
        if (failure) {
            is_passing_want(failure) ? refuse_pending(failure) : stop(failure);
        }
        const bool gives_way = std::exchange(_must_give_way, false) && can_give_way() &&
                               _places != nullptr && _places->waiting() > 0;
        if ((_pending.empty() || gives_way) && _overlapping.valid()) {
            co_await std::exchange(_overlapping, {});
        }
        if (gives_way) {
            try {
                co_await close_files();
            } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it goes on
            }
        }
    }
    _committing = false;
}

// Steps 3 to 7: room, the frozen copy, the write, the mark, the answer.
future<> log::commit_next() {
    co_await prepare_segment();
    std::size_t bytes = 0;
    const std::size_t count = select_appends(bytes);
    co_await _active->make_room(bytes);
    future<> written = write(count);
    if (this_host().canary("overlapping-tail-writes")) {
        // A deliberate bug: the next commit does not wait for this one.
        std::swap(written, _overlapping);
    }
    if (written.valid()) {
        co_await std::move(written);
    }
}

/// What fails before they are frozen leaves them in line; whatever fails from then on stops the
/// log, want of memory too: their offsets may be on the device.
future<> log::write(std::size_t count) {
    commit next = freeze(count);
    probe("commit");
    if (this_host().canary("acknowledge-early")) {
        publish(next);
        co_await _active->write(next.frozen);
        co_return;
    }
    std::exception_ptr failure;
    try {
        co_await _active->write(next.frozen);
        probe("mark");
        co_await _mark->store(end_after(next));
        publish(next);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!failure) {
        sync_mark_later(next.frozen.batches.size());
        co_return;
    }
    for (pending_append& each : next.appends) {
        refuse(each, failure);  // those behind them fail next
    }
    stop(failure);
}

/// How many of those in line the next write takes.
std::size_t log::select_appends(std::size_t& bytes) const noexcept {
    std::size_t count = 0;
    for (const pending_append& each : _pending) {
        const std::size_t with = bytes + each.batches.size();
        const bool fits = with <= _options.max_commit_bytes &&
                          _active->end() + with <= _options.segment_bytes &&
                          has_offsets_for(*_segments.back(), each);
        if (count > 0 && !fits) {
            break;
        }
        bytes = with;
        ++count;
    }
    return count;
}

log::commit log::freeze(std::size_t count) {
    // All that needs memory comes before anything leaves the line, also what publish() will need.
    commit next;
    next.appends.reserve(count);
    std::vector<std::span<const std::byte>> batches;
    batches.reserve(count);
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < count; ++i) {
        batches.emplace_back(_pending[i].batches);
        bytes += batches.back().size();
    }
    _segments.back()->index.reserve(bytes);
    next.frozen = _active->freeze(batches);
    for (; count > 0; --count) {
        next.appends.push_back(std::move(_pending.front()));
        _pending.pop_front();
    }
    next.base_offset = next.appends.front().base_offset;
    next.next_offset = next.appends.back().next_offset;
    return next;
}

void log::publish(commit& durable) {
    probe("publish");
    segment& into = *_segments.back();
    protocol::batch_walk walk(durable.frozen.batches);
    std::uint64_t position = durable.frozen.batches_position;
    while (const auto batch = walk.next()) {
        into.index.add(*batch, position);
        position += batch->bytes().size();
    }
    _last_commit = this_shard().now();
    into.size = std::max(into.size, position);
    into.next_offset = std::max(into.next_offset, durable.next_offset);
    _end_offset = into.next_offset;
    _recent.add(durable.base_offset, durable.next_offset,
                {durable.frozen.pages, durable.frozen.batches});
    for (pending_append& each : durable.appends) {
        _metrics.waiting_bytes -= each.batches.size();
        each.done.set_value(append_result{.base_offset = each.base_offset});
    }
    notify();
}

/// Also without memory: who appended hears of it, then as of that.
void log::refuse(pending_append& each, const std::exception_ptr& why) noexcept {
    ++_metrics.appends_failed;
    _metrics.waiting_bytes -= each.batches.size();
    std::exception_ptr failure;
    try {
        failure = failure_of_append(why, _directory);
    } catch (...) {
        failure = std::current_exception();
    }
    each.done.set_failure(std::move(failure));
}

/// Fails all that wait, and forgets their offsets: nothing of them is on disk.
void log::refuse_pending(const std::exception_ptr& why) noexcept {
    for (pending_append& each : _pending) {
        refuse(each, why);
    }
    _pending.clear();
    _next_offset = _end_offset;
    notify();
}

void log::stop(const std::exception_ptr& why) noexcept {
    ++_metrics.stops;
    _failure = why;
    shard& here = this_shard();
    try {
        here.log().write(here.log_context(), log_level::error, "log stopped by a failed write",
                         {{"directory", _directory}, {"cause", text_of(why)}});
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it is counted
    }
    refuse_pending(why);
}

void log::notify() noexcept {
    for (end_listener& each : _listeners) {
        each.end_moved();
    }
    while (!_waiting_for_room.empty() && _metrics.waiting_bytes < _options.max_waiting_bytes) {
        _waiting_for_room.front().set_value();
        _waiting_for_room.pop_front();
    }
}

future<> log::wait_for_room() {
    if (_metrics.waiting_bytes < _options.max_waiting_bytes) {
        return make_ready_future();
    }
    _waiting_for_room.emplace_back();
    return _waiting_for_room.back().get_future();
}

}  // namespace weir::broker
