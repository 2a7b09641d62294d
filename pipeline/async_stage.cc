// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include <weir/pipeline/stage.hh>

// An element stays in its ring until its result is there; a result gets its slot when its element
// begins (ordered) or when it is there (unordered). So the window needs no memory but tickets.
namespace weir::pipeline {

async_stage::async_stage(const stage_plan& planned, const deploy_options& options, output& to,
                         std::unique_ptr<view> from)
    : producing_stage(planned, options, to),
      _ordered(planned.nodes.front()->ordered),
      _in(std::move(from)),
      _kernel(planned.nodes.front()->make_async()),
      _lanes(_in->columns()),
      _flights(std::min(planned.nodes.front()->window, max_batch)) {}

stage::progress async_stage::step() {
    if (looks_around()) {
        _out.reclaim();  // and so sees who has left
    }
    if (aborted() && !_failed) {
        _failed = true;
        _failure = aborted();
    }
    const bool settled = settle();
    const bool begun = wanted() && begin();
    if (settled || begun) {
        return progress::moved;
    }
    if (_pending != 0) {
        return progress::waiting;
    }
    if (!wanted() || (_in->ready(1) == 0 && _in->ended())) {
        if (wanted()) {
            _failure = _in->failure();
        }
        // Elements after a failure were made, and nobody will see them.
        for (std::size_t i = 0; i < _out.claimed(); ++i) {
            if (_ordered && at(_oldest + i).done) {
                _out.drop(i);
            }
        }
        _in->leave();
        _out.close(std::move(_failure));
        return progress::ended;
    }
    return progress::waiting;
}

// Once nobody wants more, nobody ever will.
bool async_stage::wanted() noexcept {
    return !_failed && !_out.abandoned();
}

// Begins with elements while the window, the input and the output allow it.
bool async_stage::begin() {
    const std::size_t under_way = _next - _oldest;
    if (under_way == _flights.size()) {
        ++_counters.blocked;
        return false;
    }
    const std::size_t seen = _in->see(_flights.size(), true);
    if (seen <= under_way) {
        ++_counters.starved;
        return false;
    }
    _in->gather(seen, _lanes.data());
    bool begun = false;
    for (std::size_t i = under_way; i < seen && !_failed; ++i) {
        if (_out.claim(1, _slots.data()) == 0) {
            ++_counters.blocked;
            break;
        }
        begun = true;
        const std::size_t ticket = _next++;
        at(ticket) = {};
        ++_pending;
        ++_counters.elements;
        _kernel->start(_lanes.data(), i, ticket, *this);
    }
    return begun;
}

// Publishes what is in order, and releases the elements that are done with.
bool async_stage::settle() {
    std::size_t done = 0;
    while (_oldest + done < _next && at(_oldest + done).done) {
        ++done;
    }
    const bool published = !_ordered && _stored != 0;
    if (published) {
        publish(std::exchange(_stored, 0));
    }
    if (done != 0) {
        if (_ordered) {
            publish(done);
        }
        // Unless begin() looks again the view won't know where the next ones lie: then all go
        // back in the end, when no future looks at one.
        if (wanted()) {
            _in->release(done);
        }
        _oldest += done;
        ++_counters.batches;
    }
    if (_oldest < _next && at(_oldest).failed && !_failed) {
        _failed = true;
        ++_counters.failures;
        _failure = at(_oldest).failure;
        return true;
    }
    return published || done != 0;
}

const slot_lane* async_stage::place(std::size_t ticket) noexcept {
    _out.slot(_ordered ? ticket - _oldest : _stored, _slots.data());
    return _slots.data();
}

void async_stage::completed(std::size_t ticket, std::exception_ptr fail) noexcept {
    flight& ended = at(ticket);
    --_pending;
    if (over()) [[unlikely]] {
        // It was disowned: nobody will see its result.
        if (!fail) {
            _out.drop(_ordered ? ticket - _oldest : _stored);
        }
        deserted();
        return;
    }
    if (fail) {
        ended.failed = true;
        ended.failure = std::move(fail);
        if (!_ordered && !_failed) {
            _failed = true;
            ++_counters.failures;
            _failure = ended.failure;
        }
    } else {
        ended.done = true;
        _stored += _ordered ? 0 : 1;
    }
    wake();
}

}  // namespace weir::pipeline
