// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include <broker/storage/log.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>
#include <weir/core/sleep.hh>

namespace weir::broker {

/// What the mark says while nothing is on its way.
marked_end log::whole_end() const noexcept {
    if (_segments.empty()) {
        return {};
    }
    const segment& last = *_segments.back();
    return {start_offset(), _end_offset, last.base_offset, last.size};
}

marked_end log::end_after(const commit& durable) const noexcept {
    return {start_offset(), durable.next_offset, _segments.back()->base_offset,
            durable.frozen.batches_position + durable.frozen.batches.size()};
}

future<> log::open_mark() {
    _mark = co_await log_mark::open(_directory, whole_end(), _options.tail_copy);
}

/// Never fails: what the device does not know of it the next start proves for itself.
future<> log::close_mark() {
    auto mark = std::exchange(_mark, nullptr);
    if (!mark) {
        co_return;
    }
    if (_metrics.unsynced_mark_bytes > 0) {
        ++_metrics.mark_syncs;
        co_await mark->sync().then_wrapped([](future<> synced) { std::move(synced).ignore(); });
    }
    _metrics.unsynced_mark_bytes = 0;
    co_await mark->close().then_wrapped([](future<> closed) { std::move(closed).ignore(); });
}

/// The device hears of it after mark_sync_bytes, or after mark_sync_wait_max.
void log::sync_mark_later(std::size_t bytes) noexcept {
    if (_options.tail_copy) {
        return;  // it has
    }
    _metrics.unsynced_mark_bytes += bytes;
    if (_end_of_waits->requested()) {
        return;  // close_mark() tells it
    }
    try {
        if (_metrics.unsynced_mark_bytes >= _options.mark_sync_bytes && !_mark_syncing) {
            sync_mark(_background->hold()).ignore();
        } else if (!_mark_waits && !_mark_syncing) {
            sync_mark_in_time(_background->hold()).ignore();
        }
    } catch (const std::bad_alloc&) {
        // The next commit tries again.
    }
}

future<> log::sync_mark_in_time(gate::holder inside) {
    _mark_waits = true;
    try {
        co_await sleep_for(_options.mark_sync_wait_max, *_end_of_waits);
    } catch (const std::exception&) {
        // It closes, and syncs then; or there is no memory, and the next commit tries again.
        _mark_waits = false;
        co_return;
    }
    _mark_waits = false;
    if (_mark && !_mark_syncing && _metrics.unsynced_mark_bytes > 0) {
        co_await sync_mark(std::move(inside));
    }
}

/// Fails nobody: a mark that can't be synced takes no more records, so the next commit stops the
/// log, as any failed sync does.
future<> log::sync_mark(gate::holder inside) {
    _mark_syncing = true;
    std::error_code failure;
    try {
        semaphore_units turn;
        if (_mark_syncs != nullptr) {
            turn = co_await _mark_syncs->acquire(1, *_end_of_waits);
        }
        const std::uint64_t told = _metrics.unsynced_mark_bytes;
        ++_metrics.mark_syncs;
        co_await _mark->sync();
        _metrics.unsynced_mark_bytes -= told;
    } catch (const error& e) {
        failure = e.code();
    } catch (const std::bad_alloc&) {
        failure = std::make_error_code(std::errc::not_enough_memory);
    }
    _mark_syncing = false;
    if (std::exchange(_mark_awaited, false)) {
        _mark_synced.set_value();
    }
    if (failure && !_end_of_waits->requested()) {
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::warning, "mark not synced",
                         {{"directory", _directory}, {"cause", failure.message()}});
    } else if (_metrics.unsynced_mark_bytes > 0 && !_mark_waits) {
        co_await sync_mark_in_time(std::move(inside));
    }
}

/// There when no sync of the mark is under way. For one at a time, while nothing is committed.
future<> log::mark_synced() {
    while (_mark_syncing) {
        _mark_synced = {};
        _mark_awaited = true;
        co_await _mark_synced.get_future();
    }
}

}  // namespace weir::broker
