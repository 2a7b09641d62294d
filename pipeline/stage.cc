// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/stage.hh>

#include <algorithm>
#include <utility>

#include <weir/core/mesh.hh>
#include <weir/core/poller.hh>
#include <weir/core/shard.hh>

namespace weir::pipeline {

stage::stage(const stage_plan& planned, const deploy_options& options)
    : _planned(planned),
      _batch(std::min(options.batch, first_batch)),
      _batch_most(options.batch),
      _polls_max(options.polls),
      _arrival(*this),
      _next_turn(*this),
      _grace(*this) {}

stage::~stage() = default;

void stage::start() {
    this_shard().make_ready(*this);
}

void stage::wake() noexcept {
    // Whoever told us of a move won't tell us of the next one unless we ask again.
    _announced = false;
    if (_over) [[unlikely]] {
        clear_up();
    } else if (std::exchange(_idle, false)) {
        _polls = 0;
        this_shard().make_ready(*this);
    }
}

future<> stage::until_ended() noexcept {
    if (_over) {
        return make_ready_future();
    }
    _ended = {};
    return _ended.get_future();
}

void stage::abort(const std::exception_ptr& reason, duration grace) noexcept {
    if (_over || _aborted) {
        return;
    }
    _aborted = reason;
    tell_of_abort();
    try {
        _grace.arm(this_shard().now() + grace);
    } catch (const std::bad_alloc&) {
        disown();
    }
    wake();
}

void stage::disown() noexcept {
    const std::size_t under_way = waits().now;
    if (_over || under_way == 0) {
        return;  // it ends by itself
    }
    _counters.disowned += under_way;
    desert();
    _over = true;
    tell_neighbours();
    if (_ended.open()) {
        _ended.set_value();
    }
}

future<> stage::until_deserted() noexcept {
    if (waits().now == 0) {
        return make_ready_future();
    }
    _deserted = {};
    return _deserted.get_future();
}

void stage::deserted() noexcept {
    if (waits().now == 0 && _deserted.open()) {
        _deserted.set_value();
    }
}

// The stage takes no turn any more, and elements that nobody looks at must not lie there until all
// is over.
void stage::clear_up() noexcept {
    output* const own = ring();
    if (own != nullptr && own->keeps()) {
        for (const remote_shard& each : _remote) {
            each.ours->wait();
        }
        own->reclaim();
    }
}

void stage::add_neighbour(stage& local) {
    if (&local != this && std::ranges::find(_local, &local) == _local.end()) {
        _local.push_back(&local);
    }
}

void stage::add_neighbour(shard_id remote, waiting_word& ours, waiting_word& theirs) {
    if (std::ranges::find(_remote, remote, &remote_shard::shard) == _remote.end()) {
        _remote.push_back({remote, &ours, &theirs});
    }
}

void stage::run() noexcept {
    if (_over) [[unlikely]] {
        return;  // it was disowned while it was in line
    }
    if (_runs_to_time != 0) [[unlikely]] {
        run_timed();
    } else {
        work();
    }
}

void stage::run_timed() noexcept {
    const std::uint64_t before = _counters.elements;
    const instant began = this_shard().outside().now();
    work();
    if (_counters.elements != before) {
        --_runs_to_time;
        _counters.service += this_shard().outside().now() - began;
        _counters.sampled_elements += _counters.elements - before;
    }
}

void stage::work() noexcept {
    ++_counters.runs;
    bool moved = false;
    bool news = false;  // that neighbours were not told
    progress last = progress::moved;
    unsigned batches = 0;
    const bool timed =
        _slow || _counters.batches < tuned_at_first || _counters.runs % tuned_runs == 0;
    _very_slow = false;
    const instant began = timed ? this_shard().outside().now() : instant{};
    while (last == progress::moved) {
        last = step();
        ++batches;
        if (last != progress::waiting) {
            // At once, so that those who wait work meanwhile, and again in the end.
            news = std::exchange(moved, true);
            if (!news) {
                tell_neighbours();
            }
        }
        if (this_shard().hurried()) [[unlikely]] {
            _slow = true;
            _batch = 1;
            break;
        }
        if (need_preempt() || batches == (timed ? 1 : batches_in_a_row)) {
            break;
        }
    }
    if (timed && moved) {
        tune_batch(this_shard().outside().now() - began, last == progress::moved);
    }
    news |= gave_back();
    if (news) {
        tell_neighbours();
    }
    if (_very_slow && moved) {
        // What wakes the neighbours would leave with the end of the turn.
        this_shard().outside().submit();
    }
    if (moved || news) {
        _polls = 0;
        _announced = false;
    }
    if (last == progress::ended) {
        _over = true;
        if (_ended.open()) {
            _ended.set_value();
        }
        clear_up();
    } else if (last == progress::moved || need_preempt() || ++_polls <= _polls_max) {
        // A view that stopped looking because of need_preempt() may have more.
        come_back();
    } else if (!std::exchange(_announced, true) && !_remote.empty()) {
        for (const remote_shard& each : _remote) {
            each.ours->wait();
        }
        this_shard().make_ready(*this);
    } else {
        _idle = true;
    }
}

void stage::tune_batch(duration took, bool more) noexcept {
    if (more && took < batch_min) {
        _batch = std::min(_batch * 2, _batch_most);
    } else if (took > batch_max) {
        const auto times = static_cast<std::size_t>(took / batch_max) + 1;
        _batch = std::max<std::size_t>(_batch / times, 1);
    }
    _slow = took > batch_max;
    _very_slow = took > turn_max;
}

// A stage that is always ready would have one turn of its shard after the other, and each would
// last as long as many elements: timers, completions and calls come between two.
void stage::come_back() noexcept {
    if (_very_slow) {
        try {
            _next_turn.arm(this_shard().now());
            return;
        } catch (const std::bad_alloc&) {
        }
    }
    this_shard().make_ready(*this);
}

void stage::next_turn::fire() noexcept {
    this_shard().make_ready(_of);
}

// Whether views gave elements back since neighbours were told, perhaps without the stage.
bool stage::gave_back() noexcept {
    bool moved = false;
    for (ring_view* const each : _leaves) {
        moved |= each->take_moved();
    }
    return moved;
}

void stage::tell_neighbours() noexcept {
    gave_back();
    for (stage* each : _local) {
        each->wake();
    }
    for (const remote_shard& each : _remote) {
        if (each.theirs->take()) {
            this_shard().port().nudge(each.shard);
        }
    }
}

void stage::look_at_awaited() noexcept {
    if (_awaited.failed()) {
        std::exception_ptr failure = _awaited.take_failure();
        ++_counters.failures;
        if (!_failure) {
            _failure = std::move(failure);
        }
    } else {
        _awaited.take();
    }
}

void stage::arrival::run() noexcept {
    _of._waiting = false;
    _of.look_at_awaited();
    if (_of._over) [[unlikely]] {
        _of.deserted();
    } else {
        _of.wake();
    }
}

producing_stage::producing_stage(const stage_plan& planned, const deploy_options& options,
                                 output& to)
    : stage(planned, options),
      _out(to),
      _slots(to.type().columns.size()),
      _peers_stand_still(this_shard().outside().peers_stand_still()) {}

work_stage::work_stage(const stage_plan& planned, const deploy_options& options, output& to,
                       std::unique_ptr<view> from, std::unique_ptr<kernel> work)
    : producing_stage(planned, options, to),
      _in(std::move(from)),
      _kernel(std::move(work)),
      _lanes(_in->columns()) {}

stage::progress work_stage::step() {
    if (aborted()) [[unlikely]] {
        return end(aborted());
    }
    const std::size_t n = _in->ready(_batch);
    if (n == 0) {
        ++_counters.starved;
        if (looks_around()) {
            _out.reclaim();
            if (_out.abandoned()) {
                return end(nullptr);
            }
        }
        return _in->ended() ? finish() : progress::waiting;
    }
    const std::size_t room = _out.claim(_batch, _slots.data());
    if (room == 0) {
        ++_counters.blocked;
        return _out.abandoned() ? end(nullptr) : progress::waiting;
    }
    _in->gather(n, _lanes.data());
    kernel_step done = _kernel->run(_lanes.data(), n, _slots.data(), room);
    _out.unclaim(room - done.produced);
    publish(done.produced);
    _in->release(done.consumed);
    _counters.elements += done.consumed;
    ++_counters.batches;
    if (done.failure) {
        ++_counters.failures;
        return end(std::move(done.failure));
    }
    if (_out.abandoned()) {
        return end(nullptr);
    }
    return done.consumed + done.produced != 0 ? progress::moved : progress::waiting;
}

stage::progress work_stage::finish() {
    if (std::exception_ptr failure = _in->failure()) {
        return end(std::move(failure));
    }
    const std::size_t room = _out.claim(_batch, _slots.data());
    if (room == 0) {
        ++_counters.blocked;
        return _out.abandoned() ? end(nullptr) : progress::waiting;
    }
    kernel_step done = _kernel->finish(_slots.data(), room);
    _out.unclaim(room - done.produced);
    publish(done.produced);
    _counters.failures += done.failure ? 1 : 0;
    return done.produced == room && !done.failure ? progress::moved : end(std::move(done.failure));
}

stage::progress work_stage::end(std::exception_ptr failure) {
    _kernel.reset();  // it may look at the element that it was taking apart
    _in->leave();
    _out.close(std::move(failure));
    return progress::ended;
}

}  // namespace weir::pipeline
