// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include <broker/storage/log.hh>
#include <broker/storage/tail_copy.hh>

#include <weir/core/assert.hh>
#include <weir/core/await_all.hh>
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
    known.trusted = mark && mark->whole && !knows_its_end;
    known.whole = known.whole || knows_its_end;
    known.end.next_offset = std::max(known.end.next_offset, _end_offset);
    _segments = co_await recover(_directory, _options, _metrics, known, give_up);
    _end_offset = _segments.empty() ? 0 : _segments.back()->next_offset;
    _next_offset = _end_offset;
    const bool says_less = !mark || !mark->whole || mark->end.next_offset < _end_offset;
    if (says_less && !_segments.empty()) {
        // Of a program that had no marks yet, spoilt, or of before the last commit. What was found
        // is durable, and somebody may read it.
        co_await open_mark();
        co_await _mark->sync();
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

/// Has a file that the first of those in line may be written to, and a mark. A log that could not
/// open them has none, and no place.
future<> log::prepare_segment() {
    if (_places != nullptr && !_place) {
        _place = co_await _places->take(*_end_of_waits);
    }
    std::exception_ptr failure;
    try {
        co_await open_to_append();
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        if (_active == nullptr) {
            co_await close_mark();
            _place = {};
        }
        std::rethrow_exception(failure);
    }
}

future<> log::open_to_append() {
    if (_mark == nullptr) {
        co_await open_mark();
    }
    if (_active != nullptr) {
        if (must_roll(_pending.front()) && ends_well(*_segments.back())) {
            co_await roll();
        }
        co_return;
    }
    if (_segments.empty()) {
        co_return co_await roll();
    }
    segment& last = *_segments.back();
    if (last.tail_unseen) {
        co_await prove_tail(_directory, last, _options, _metrics);
    }
    if (must_roll(_pending.front())) {
        if (!last.has_index) {
            co_await look_through(last.base_offset, false);
            co_await seal_for_good(last);
        }
        if (ends_well(last)) {
            co_return co_await roll();
        }
        _roll_due = false;  // one batch more, so that it ends with a good one
    }
    if (!_options.tail_copy) {
        // One of a start with the option: it would vouch for what follows without being asked.
        co_await tail_copy::remove(_directory, last.base_offset);
    }
    auto resumed = co_await active_segment::resume(_directory, last, _options, _metrics);
    if (last.has_index) {
        if (last.sealed) {
            // Readers load it for themselves until this is there.
            last.index = co_await make_index(last.base_offset);
            last.sealed = false;
            _indexes.forget(this, last.base_offset);
        }
        co_await unseal(_directory, last);
    }
    _active = std::move(resumed);
    _active_since = this_shard().now();
}

bool log::must_roll(const pending_append& first) noexcept {
    const segment& last = *_segments.back();
    const std::uint64_t size = _active ? _active->end() : last.size;
    _roll_due = _roll_due || (size > 0 && (size + first.batches.size() > _options.segment_bytes ||
                                           !has_offsets_for(last, first)));
    return _roll_due;
}

/// Whether its index ends with its last batch: that is good then, or was when it was written.
bool log::ends_well(const segment& of) noexcept {
    const auto last = of.index.last();
    return last ? last->last_offset + 1 == of.next_offset : of.size == 0;
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
    next->index = empty_index(_end_offset, _options);
    auto file = co_await active_segment::create(_directory, next->base_offset, _options, _metrics);
    auto old_file = std::exchange(_active, std::move(file));
    if (!old_file) {
        _active_since = this_shard().now();
    }
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

/// A sealed segment has no copy of its tail. One whose last batch is spoilt stays open: a start
/// takes a sealed one for whole by its last batch.
future<> log::seal_for_good(segment& whole) {
    if (!ends_well(whole)) {
        co_return;
    }
    co_await seal(_directory, whole, _options);
    co_await tail_copy::remove(_directory, whole.base_offset);
}

/// Never fails, once it has a frame: a segment that could not be sealed is walked by the next
/// start.
future<> log::seal_file(segment& old, active_segment& file) {
    try {
        co_await file.settle();  // whatever fails: nothing of it is under way when it goes
        co_await look_through(old.base_offset, false);
        co_await file.prepare_to_seal();
        co_await file.close();
        co_await seal_for_good(old);
    } catch (const std::exception& e) {
        tell_unsealed(e.what());
    }
}

/// Makes the index of a segment whole that a start left to the mark. Who comes while somebody else
/// is at it waits for that; a paced walk goes on without a pause then.
future<> log::look_through(std::int64_t base_offset, bool paced) {
    const std::shared_ptr<abort_source> give_up = _end_of_walks;
    if (segment_of(base_offset)->unwalked == 0) {
        co_return;
    }
    if (const auto pace = _pace.lock(); pace && !paced) {
        pace->request();
    }
    const semaphore_units turn = co_await _walks.acquire(1, *give_up);
    const std::uint64_t until = segment_of(base_offset)->unwalked;
    if (until == 0) {
        co_return;
    }
    const auto pace = paced ? std::make_shared<abort_source>(*give_up) : nullptr;
    _pace = pace;
    segment_index start = co_await index_start(_directory, base_offset, until,
                                               segment_of(base_offset)->unwalked_offset, _options,
                                               _metrics, pace.get(), *give_up);
    segment& of = *segment_of(base_offset);  // reopen() may have replaced it
    if (of.base_offset == base_offset && of.unwalked == until) {
        of.index.put_before(std::move(start));
        of.unwalked = 0;
    }
}

bool log::has_unsealed() const noexcept {
    if (_segments.empty()) {
        return false;
    }
    const segment& last = *_segments.back();
    return !last.sealed && !last.has_index && (last.unwalked > 0 || ends_well(last));
}

future<> log::rest(bool paced) {
    WEIR_ASSERT(can_rest());
    return seal_active(_background->hold(), paced);
}

/// Never fails: without memory for it, or where it can't be walked, the log stays open.
future<> log::seal_active(gate::holder inside, bool paced) {
    const std::shared_ptr<abort_source> give_up = _end_of_walks;
    try {
        co_await look_through(_segments.back()->base_offset, paced);
    } catch (const std::exception& e) {
        if (!give_up->requested()) {
            tell_unsealed(e.what());
        }
        _last_commit = this_shard().now();  // it is tried again as if it had been in use
        co_return;
    }
    if (!can_rest()) {
        co_return;  // it is in use
    }
    _committing = true;  // what is appended waits in line
    try {
        co_await close_files();
    } catch (const std::bad_alloc&) {
    }
    _committing = false;
    if (!_pending.empty()) {
        start_committing(std::move(inside));  // also if the gate closes: they came before
    }
}

future<bool> log::give_way() {
    WEIR_ASSERT(can_give_way());
    if (_committing) {
        _must_give_way = true;
        return make_ready_future<bool>(false);
    }
    return give_way_now(_background->hold());
}

/// Never fails, as above.
future<bool> log::give_way_now(gate::holder inside) {
    _committing = true;
    try {
        co_await close_files();
    } catch (const std::bad_alloc&) {
    }
    _committing = false;
    const bool gave = !active();
    if (!_pending.empty()) {
        start_committing(std::move(inside));
    }
    co_return gave;
}

/// Nothing is committed meanwhile. What was left to the mark is left so again, if nobody has walked
/// it: who needs the place doesn't wait for that, nor for what fails.
/// fails    std::bad_alloc: the log is as open as before
future<> log::close_files() {
    co_await mark_synced();
    co_await close_mark();  // before all else: no sync of it begins from here on
    if (_sealing.valid()) {
        co_await std::exchange(_sealing, {});
    }
    if (!_active) {
        co_await seal_left_open();
    } else if (_segments.back()->unwalked > 0) {
        co_await leave_unsealed();
    } else {
        co_await seal_file(*_segments.back(), *_active);
    }
    _active = nullptr;
    _place = {};
    ++_metrics.rests;
}

/// fails    std::bad_alloc: it is still open
future<> log::leave_unsealed() {
    co_await _active->settle();
    future<> closed = _active->close();
    co_await settled(closed);
    std::move(closed).ignore();
}

/// What a start left open, and nobody has appended to since.
future<> log::seal_left_open() {
    segment& last = *_segments.back();
    try {
        if (last.tail_unseen) {
            co_await prove_tail(_directory, last, _options, _metrics);
        }
        co_await seal_for_good(last);
    } catch (const error& e) {
        if (e.is(errc::corrupt)) {
            stop(std::current_exception());
            co_return;
        }
        tell_unsealed(e.what());
        _last_commit = this_shard().now();
    }
}

void log::tell_unsealed(const char* cause) noexcept {
    ++_metrics.seals_failed;
    shard& here = this_shard();
    here.log().write(here.log_context(), log_level::warning, "segment not sealed",
                     {{"directory", _directory}, {"cause", cause}});
}

void log::close_idle_reads() noexcept {
    if (std::exchange(_reads_seen, _metrics.reads_from_disk) == _metrics.reads_from_disk) {
        _read_files.forget(this);
    }
}

future<> log::end_background_work() {
    _end_of_waits->request();
    _end_of_walks->request();
    co_await _background->close();
    if (_sealing.valid()) {
        co_await std::exchange(_sealing, {});
    }
    _recent.clear();
    _ahead.clear();
    _read_files.forget(this);
    _indexes.forget(this);
}

future<> log::let_go() {
    WEIR_ASSERT(stopped() && !_closed);
    // What needs memory comes first: a gate that has closed can't be closed by the next try.
    auto background = std::make_unique<gate>();
    auto end_of_waits = std::make_unique<abort_source>();
    auto end_of_walks = std::make_shared<abort_source>();
    co_await end_background_work();
    _background = std::move(background);
    _end_of_waits = std::move(end_of_waits);
    _end_of_walks = std::move(end_of_walks);
    co_await close_mark();
    if (_active) {
        co_await _active->settle();  // whatever fails: nothing of it is under way when it goes
    }
    if (auto old = std::exchange(_active, nullptr)) {
        // Its descriptor has failed for good; closing it has nothing to add.
        co_await old->close().then_wrapped([](future<> closed) { std::move(closed).ignore(); });
    }
    _place = {};
    _roll_due = false;
}

future<> log::reopen() {
    co_await let_go();
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
        co_await _active->settle();  // likewise
        auto file = std::exchange(_active, nullptr);
        if (stopped() || _segments.back()->unwalked > 0) {
            // What was left to the mark is left so again: a stop doesn't wait for a walk.
            co_await file->close().then_wrapped(
                [](future<> closed) { std::move(closed).ignore(); });
        } else {
            co_await seal_in_background(*_segments.back(), std::move(file));
        }
    }
}

}  // namespace weir::broker
