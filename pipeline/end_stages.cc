// SPDX-License-Identifier: Apache-2.0
// The stages at the ends of a pipeline, and the one that is a whole program.
#include <algorithm>
#include <utility>

#include <weir/core/shard.hh>
#include <weir/pipeline/stage.hh>

namespace weir::pipeline {

template <typename Begin>
stage::progress stage::wait_for(Begin begin) noexcept {
    _awaited = futurize(std::move(begin));
    if (_awaited.available()) {
        look_at_awaited();
        return progress::moved;
    }
    _waiting = true;
    _awaited.set_waiter(_arrival);
    return progress::waiting;
}

source_stage::source_stage(const stage_plan& planned, const deploy_options& options, output& to,
                           std::unique_ptr<source> from)
    : producing_stage(planned, options, to), _source(std::move(from)) {}

void source_stage::stop() noexcept {
    if (!std::exchange(_stopped, true)) {
        _source->stop();
        wake();
    }
}

void source_stage::resume() noexcept {
    _paused = false;
    wake();
}

stage::progress source_stage::step() {
    if (_waiting) {
        _out.reclaim();
        if (_out.abandoned()) {
            stop();
        }
        return progress::waiting;
    }
    if (_closing) {
        if (_failure && !aborted() && _out.abandoned()) {
            this_shard().report_ignored(_failure);  // nobody reads what it ended with
        }
        _out.close(std::move(_failure));
        return progress::ended;
    }
    if (aborted()) {
        return end(aborted());
    }
    if (_failure) {
        return end(std::move(_failure));
    }
    if (_paused && !_stopped) {
        if (looks_around()) {
            _out.reclaim();
        }
        return progress::waiting;
    }
    const std::size_t room = _out.claim(_batch, _slots.data());
    if (_stopped || _out.abandoned()) {
        _out.unclaim(room);
        return end(nullptr);
    }
    if (room == 0) {
        ++_counters.blocked;
        return progress::waiting;
    }
    source_step done;
    std::exception_ptr failure;
    try {
        _source->fill(_slots.data(), room, done);
    } catch (...) {
        failure = std::current_exception();
        ++_counters.failures;
    }
    _out.unclaim(room - done.produced);
    publish(done.produced);
    _counters.elements += done.produced;
    ++_counters.batches;
    if (failure || done.ended) {
        return end(std::move(failure));
    }
    if (done.produced != 0) {
        return progress::moved;
    }
    ++_counters.starved;
    _out.reclaim();  // readers may have told us all before we wait
    return wait_for([this] { return _source->wait(); });
}

// The source is closed first, so that its failure can still be told.
stage::progress source_stage::end(std::exception_ptr failure) {
    _failure = std::move(failure);
    _closing = true;
    wait_for([this] { return _source->close(); });
    return progress::moved;  // neighbours should know now what came last
}

sink_stage::sink_stage(const stage_plan& planned, const deploy_options& options,
                       std::unique_ptr<view> from, std::unique_ptr<sink> to)
    : stage(planned, options), _in(std::move(from)), _sink(std::move(to)), _lanes(_in->columns()) {}

stage::progress sink_stage::step() {
    if (_waiting) {
        return progress::waiting;
    }
    if (_closing) {
        return progress::ended;
    }
    if (aborted()) {
        return end(aborted());
    }
    if (_failure) {
        return end(std::move(_failure));
    }
    // What it holds on to is offered again, however small batches have become meanwhile.
    const std::size_t n = _in->ready(std::max(_batch, _offered));
    if (n == 0) {
        ++_counters.starved;
        return _in->ended() ? end(_in->failure()) : progress::waiting;
    }
    _in->gather(n, _lanes.data());
    std::size_t taken = 0;
    try {
        taken = _sink->take(_lanes.data(), n);
    } catch (...) {
        ++_counters.failures;
        return end(std::current_exception());
    }
    _in->release(taken);
    _counters.elements += taken;
    ++_counters.batches;
    _offered = n - taken;
    if (taken == n) {
        return progress::moved;
    }
    ++_counters.blocked;
    return wait_for([this] { return _sink->wait(); });
}

stage::progress sink_stage::end(std::exception_ptr failure) {
    _in->leave();
    _failure = std::move(failure);
    _closing = true;
    wait_for([this] { return _sink->close(); });
    return progress::moved;  // who writes should know now that we left
}

void whole_stage::stop() noexcept {
    _stopped = true;
    wake();
}

void whole_stage::resume() noexcept {
    _paused = false;
    wake();
}

stage::progress whole_stage::step() {
    if (aborted()) {
        _failure = aborted();
        return progress::ended;
    }
    if (_paused && !_stopped) {
        return progress::waiting;
    }
    loop_step done;
    if (_stopped) {
        done.ended = true;
    } else {
        done = _loop->run(_batch);
        _counters.elements += done.elements;
        ++_counters.batches;
    }
    if (done.ended) {
        try {
            _loop->finish();
        } catch (...) {
            done.failure = std::current_exception();
        }
    }
    _counters.failures += done.failure ? 1 : 0;
    _failure = std::move(done.failure);
    return done.ended || _failure ? progress::ended : progress::moved;
}

}  // namespace weir::pipeline
