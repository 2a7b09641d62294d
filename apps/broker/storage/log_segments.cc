// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/log.hh>

namespace weir::broker {

/// knows_its_end  it has acknowledged no more than _end_offset, whatever the mark says
future<> log::recover_segments(bool knows_its_end, abort_source* give_up) {
    const std::optional<found_mark> mark = co_await log_mark::read(_directory, _options.tail_copy);
    found_mark known = mark.value_or(found_mark{.end = whole_end()});
    if (!known.whole) {
        ++_metrics.damaged_marks;
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::warning, "mark damaged",
                         {{"cause", known.why}});
    }
    known.whole = known.whole || knows_its_end;
    known.end.next_offset = std::max(known.end.next_offset, _end_offset);
    _segments = co_await recover(_directory, _options, _metrics, known, give_up);
    _end_offset = _segments.empty() ? 0 : _segments.back()->next_offset;
    _next_offset = _end_offset;
    if (!(mark && mark->whole) && !_segments.empty()) {
        // Of a program that had no marks yet, or spoilt. What was found is durable.
        co_await open_mark();
        co_await close_mark();
    }
}

std::int64_t log::start_offset() const noexcept {
    return _segments.empty() ? _end_offset : _segments.front()->base_offset;
}

std::uint64_t log::size_bytes() const noexcept {
    std::uint64_t bytes = 0;
    for (const auto& each : _segments) {
        bytes += each->size;
    }
    return bytes;
}

/// Has a file that the first of those in line may be written to, and a mark.
future<> log::prepare_segment() {
    if (_mark == nullptr) {
        co_await open_mark();
    }
    if (_active != nullptr) {
        if (must_roll(_pending.front())) {
            co_await roll();
        }
        co_return;
    }
    if (_segments.empty() || must_roll(_pending.front())) {
        co_await roll();
        co_return;
    }
    segment& last = *_segments.back();
    auto resumed = co_await active_segment::resume(_directory, last, _options, _metrics);
    if (last.has_index) {
        co_await unseal(_directory, last, _options);
    }
    _active = std::move(resumed);
}

bool log::must_roll(const pending_append& first) noexcept {
    const segment& last = *_segments.back();
    const std::uint64_t size = _active ? _active->end() : last.size;
    _roll_due = _roll_due || (size > 0 && (size + first.batches.size() > _options.segment_bytes ||
                                           !has_offsets_for(last, first)));
    return _roll_due;
}

/// Whether the last offset of what is added is one that the segment's index can note.
bool log::has_offsets_for(const segment& into, const pending_append& added) noexcept {
    return added.next_offset - 1 - into.base_offset <= max_relative_offset;
}

/// Goes on in a new file. What the old one holds is durable already; once the new one is too, it
/// takes acknowledged data, and only then is the old one cut to its length.
future<> log::roll() {
    if (_overlapping.valid()) {
        co_await std::exchange(_overlapping, {});
    }
    if (_sealing.valid()) {
        co_await std::exchange(_sealing, {});
    }
    if (_active) {
        co_await _active->settle();
    }
    _segments.reserve(_segments.size() + 1);  // nothing may fail once there is another file
    auto next = std::make_unique<segment>();
    next->base_offset = _end_offset;
    next->next_offset = _end_offset;
    next->index = segment_index(_end_offset, _options.index_interval_bytes);
    auto file = co_await active_segment::create(_directory, next->base_offset, _options, _metrics);
    auto old_file = std::exchange(_active, std::move(file));
    _segments.push_back(std::move(next));
    _roll_due = false;
    if (old_file) {
        ++_metrics.rolls;
        _sealing = seal_in_background(*_segments[_segments.size() - 2], std::move(old_file));
    }
}

future<> log::seal_in_background(segment& old, std::unique_ptr<active_segment> file) {
    co_await seal_file(old, *file);
}

/// Never fails, once it has a frame: a segment that could not be sealed is walked by the next
/// start.
future<> log::seal_file(segment& old, active_segment& file) {
    try {
        co_await file.settle();  // whatever fails: nothing of it is under way when it goes
        co_await file.prepare_to_seal();
        co_await file.close();
        co_await seal(_directory, old, _options);
        if (_options.tail_copy) {
            co_await io::unlink(segment_path(_directory, old.base_offset, tail_copy_suffix));
        }
    } catch (const std::exception& e) {
        ++_metrics.seals_failed;
        shard& here = this_shard();
        here.log().write(here.log_context(), log_level::warning, "segment not sealed",
                         {{"directory", _directory}, {"cause", e.what()}});
    }
}

future<> log::rest() {
    WEIR_ASSERT(can_rest());
    return seal_active(_background->hold());
}

/// Never fails: without memory for it the log stays open.
future<> log::seal_active(gate::holder inside) {
    _committing = true;  // what is appended waits in line
    try {
        co_await close_mark();  // first: no sync of it begins from here on
        if (_sealing.valid()) {
            co_await std::exchange(_sealing, {});
        }
        co_await seal_file(*_segments.back(), *_active);
        _active = nullptr;
        ++_metrics.rests;
    } catch (const std::bad_alloc&) {
    }
    _committing = false;
    if (!_pending.empty()) {
        start_committing(std::move(inside));  // also if the gate closes: they came before
    }
}

void log::close_idle_reads() noexcept {
    if (std::exchange(_reads_seen, _metrics.reads_from_disk) == _metrics.reads_from_disk) {
        _read_files.clear();
    }
}

future<> log::end_background_work() {
    _end_of_waits->request();
    co_await _background->close();
    if (_sealing.valid()) {
        co_await std::exchange(_sealing, {});
    }
    _recent.clear();
    _ahead.clear();
    _read_files.clear();
}

future<> log::reopen() {
    WEIR_ASSERT(stopped() && !_closed);
    // What needs memory comes first: a gate that has closed can't be closed by the next try.
    auto background = std::make_unique<gate>();
    auto end_of_waits = std::make_unique<abort_source>();
    co_await end_background_work();
    _background = std::move(background);
    _end_of_waits = std::move(end_of_waits);
    co_await close_mark();
    if (auto old = std::exchange(_active, nullptr)) {
        // Its descriptor has failed for good; closing it has nothing to add.
        co_await old->close().then_wrapped([](future<> closed) { std::move(closed).ignore(); });
    }
    _roll_due = false;
    std::exception_ptr failure;
    try {
        co_await recover_segments(true);
    } catch (...) {
        failure = std::current_exception();
    }
    ++(failure ? _metrics.reopens_failed : _metrics.reopens);
    if (failure) {
        std::rethrow_exception(failure);
    }
    _failure = nullptr;
    notify();
}

future<> log::close() {
    WEIR_ASSERT(!_closed);
    _closed = true;
    co_await end_background_work();
    co_await _readers.close();
    co_await close_mark();
    notify();
    if (_active) {
        auto file = std::exchange(_active, nullptr);
        if (stopped()) {
            co_await file->close().then_wrapped(
                [](future<> closed) { std::move(closed).ignore(); });
        } else {
            co_await seal_in_background(*_segments.back(), std::move(file));
        }
    }
}

}  // namespace weir::broker
