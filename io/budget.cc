// SPDX-License-Identifier: Apache-2.0
#include <weir/io/budget.hh>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <variant>

#include <weir/core/assert.hh>
#include <weir/core/shard.hh>

namespace weir::io {

namespace {

struct data_size {
    std::uint64_t bytes = 0;
    bool writes = false;
    bool copied = true;
};

data_size size_of(const any_op& what) noexcept {
    const auto sum = [](const auto& part) {
        std::uint64_t bytes = 0;
        for (std::uint32_t i = 0; i < part.vector_count; ++i) {
            bytes += part.vector[i].iov_len;
        }
        return bytes;
    };
    if (const auto* write = std::get_if<op::write>(&what)) {
        return {sum(*write), true, !write->direct};
    }
    const auto* read = std::get_if<op::read>(&what);
    WEIR_ASSERT(read != nullptr);
    return {sum(*read), false, !read->direct};
}

data_operation& first_of(operation_list& line) noexcept {
    return static_cast<data_operation&>(*line.first());
}

}  // namespace

budget::budget(backend& to, const budget_options& options)
    : _backend(to),
      _options((options.check(), options)),
      _limit(options.window_max),
      _window(options) {}

void budget::start(data_operation& work) noexcept {
    const shard& here = this_shard();
    const unsigned index = here.context().group.index;
    const instant now = here.now();
    const data_size size = size_of(work.what);
    work._group = static_cast<std::uint8_t>(index);
    work._cost = _options.operation_cost + size.bytes;
    work._kind = static_cast<std::uint8_t>(budget_window::kind_of(size.writes, size.bytes));
    work._copied = size.copied;
    if (index != _last_group) [[unlikely]] {
        note_group(index, now);
    }
    group_state& own = _groups[index];
    // Of its group nobody waits then; of the others only who waits for the next turn.
    const bool room =
        own.counted.waiting == 0 &&
        (_in_flight < _limit || (own.counted.in_flight == 0 && _in_flight < _limit + _limit / 8));
    if (room && fits_turn(work)) [[likely]] {
        admit(work, now);
    } else {
        _waited_for_turn += room;
        put_in_line(work, now);
    }
}

bool budget::fits_turn(const data_operation& work) noexcept {
    if (!work._copied) {
        return true;
    }
    if (const std::uint64_t turn = this_shard().counters().turns; _turn != turn) {
        _turn = turn;
        _copied_in_turn = 0;
    }
    const std::uint64_t bytes = work._cost - _options.operation_cost;
    return _copied_in_turn == 0 || _copied_in_turn + bytes <= _options.copied_bytes_max;
}

/// Another group than the last starts something: its first time, or the window is in force.
void budget::note_group(unsigned index, instant now) noexcept {
    if (!_groups[index].known) {
        _groups[index].known = true;
        if (_on_group) {
            _on_group({static_cast<std::uint8_t>(index)});
        }
    }
    if (std::exchange(_last_group, index) == no_group) {
        return;
    }
    _switched = now;
    if (!_contended) {
        _contended = true;
        _window.begin(now);
        set_limit();
    }
}

void budget::admit(data_operation& work, instant now) noexcept {
    work._found_idle = _window.idle(_in_flight);
    work._since = now;
    work._state = data_operation::state::in_flight;
    _in_flight += work._cost;
    group_state& own = _groups[work._group];
    ++own.counted.in_flight;
    ++own.counted.admitted;
    const std::uint64_t bytes = work._cost - _options.operation_cost;
    own.counted.bytes += bytes;
    _copied_in_turn += work._copied ? bytes : 0;
    _backend.start(work);
}

void budget::put_in_line(data_operation& work, instant now) noexcept {
    work._since = now;
    work._state = data_operation::state::waiting;
    group_state& own = _groups[work._group];
    own.line.push_back(work);
    if (++own.counted.waiting == 1) {
        _turns.push_back(work._group);
    }
    ++_waiting;
}

/// A group with nothing in line saves nothing up.
void budget::take_from_line(data_operation& work) noexcept {
    group_state& own = _groups[work._group];
    own.line.remove(work);
    work._state = data_operation::state::idle;
    --_waiting;
    if (--own.counted.waiting == 0) {
        _turns.remove(work._group);
        own.deficit = 0;
        own.has_turn = false;
    }
}

void budget::turns::remove(unsigned group) noexcept {
    unsigned kept = 0;
    for (unsigned i = 0; i < _size; ++i) {
        if (at(i) != group) {
            _groups[wrapped(_first + kept++)] = static_cast<std::uint8_t>(at(i));
        }
    }
    _size = kept;
}

void budget::finished(data_operation& work) noexcept {
    if (std::exchange(work._state, data_operation::state::idle) != data_operation::state::in_flight)
        [[unlikely]] {
        return;  // cancel_waiting(): it never was
    }
    const instant now = this_shard().now();
    const bool window_was_full = _in_flight >= _limit;  // else they wait for the next turn
    _in_flight -= work._cost;
    --_groups[work._group].counted.in_flight;
    const budget_window::sample sample{work._kind, now - work._since, work._since,
                                       work._found_idle};
    if (_contended) [[unlikely]] {
        _window.tune(sample, now, _waiting != 0 && window_was_full);
        _contended = _turns.size() > 1 || now - _switched <= _options.contention_memory;
        set_limit();
    } else {
        _window.learn(sample, now);
    }
    if (_waiting != 0) [[unlikely]] {
        admit_waiting(now);
    }
}

// What fits is started while there is room, so whatever waits, waits for a completion: what a turn
// has started to copy completes in a later one, and then there is a turn for the rest. The last
// operation may exceed the window: else a large one would wait until all others have ended.
//
// A group whose first has to wait for the next turn keeps what it may start, and others go on.
void budget::admit_waiting(instant now) noexcept {
    unsigned too_poor = 0;  // groups that can't afford what is first in their line,
    unsigned too_late = 0;  // and for whose first this turn has no room: since the last that could
    while (_waiting != 0 && _in_flight < _limit) {
        const unsigned index = _turns.front();
        group_state& own = _groups[index];
        if (!std::exchange(own.has_turn, true)) {
            own.deficit += quantum_of(index);
        }
        data_operation& next = first_of(own.line);
        const bool fits = fits_turn(next);
        if (fits && next._cost <= own.deficit) {
            too_poor = too_late = 0;
            own.deficit -= next._cost;
            own.counted.wait_ns += static_cast<std::uint64_t>((now - next._since).count());
            take_from_line(next);
            admit(next, now);
            continue;
        }
        own.has_turn = !fits;
        _turns.pop_front();
        _turns.push_back(index);
        ++(fits ? too_poor : too_late);
        if (too_late == _turns.size()) {
            return;
        }
        if (too_poor + too_late == _turns.size()) {
            too_poor = too_late = 0;
            skip_rounds();
        }
    }
}

/// Gives all who wait for no turn what they would get in the rounds until the first of them can
/// start.
void budget::skip_rounds() noexcept {
    std::uint64_t rounds = UINT64_MAX;
    for (unsigned i = 0; i < _turns.size(); ++i) {
        group_state& each = _groups[_turns.at(i)];
        if (fits_turn(first_of(each.line))) {
            const std::uint64_t missing = first_of(each.line)._cost - each.deficit;
            rounds = std::min(rounds, (missing - 1) / quantum_of(_turns.at(i)));
        }
    }
    for (unsigned i = 0; i < _turns.size(); ++i) {
        group_state& each = _groups[_turns.at(i)];
        if (fits_turn(first_of(each.line))) {
            each.deficit += rounds * quantum_of(_turns.at(i));
        }
    }
}

std::uint64_t budget::quantum_of(unsigned index) const noexcept {
    const unsigned shares = this_shard().scheduler().io_shares({static_cast<std::uint8_t>(index)});
    return std::max<std::uint64_t>(1, _options.quantum * shares / scheduler::default_shares);
}

bool budget::withdraw(data_operation& work) noexcept {
    if (work._state != data_operation::state::waiting) {
        return false;
    }
    take_from_line(work);
    return true;
}

void budget::cancel_waiting() noexcept {
    while (_waiting != 0) {
        data_operation& next = first_of(_groups[_turns.front()].line);
        take_from_line(next);
        next.complete({.result = -ECANCELED});
    }
}

void budget::on_group(std::function<void(scheduling_group)> fn) {
    _on_group = std::move(fn);
    for (unsigned index = 0; _on_group && index < _groups.size(); ++index) {
        if (_groups[index].known) {
            _on_group({static_cast<std::uint8_t>(index)});
        }
    }
}

}  // namespace weir::io
