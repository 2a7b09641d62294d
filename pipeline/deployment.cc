// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/deployment.hh>

#include <algorithm>
#include <utility>

#include <weir/core/await_all.hh>
#include <weir/core/call.hh>
#include <weir/core/host.hh>
#include <weir/core/mesh.hh>
#include <weir/pipeline/stage_series.hh>

namespace weir::pipeline {

namespace {

/// What is made meanwhile begins in a group and at depth 0, whatever led to it.
class as_of_its_own {
  public:
    explicit as_of_its_own(scheduling_group group) : _before(this_shard().context()) {
        this_shard().set_context({group, 0});
    }
    as_of_its_own(const as_of_its_own&) = delete;
    as_of_its_own& operator=(const as_of_its_own&) = delete;
    ~as_of_its_own() { this_shard().set_context(_before); }

  private:
    const task_context _before;
};

}  // namespace

/// The stages and rings of one shard. Made, used and destroyed there.
class deployment::part final : bell_listener {
  public:
    /// all      the parts, by shard, when they have been made
    part(const plan& laid, shard_id own, const std::vector<std::unique_ptr<part>>& all)
        : _plan(laid), _own(own), _all(all), _waiting(all.size()), _stages(laid.stages.size()) {}
    ~part() { this_shard().port().stop_listening(*this); }

    // Building takes a step for each thing that another shard's part must have ready before.

    void make_rings(std::vector<output*>& rings) {
        _rings.resize(_plan.stages.size());
        for_own([&](unsigned index, const stage_plan& planned) {
            if (planned.out != nullptr) {
                _rings[index] =
                    std::make_unique<output>(*planned.out, planned.capacity, planned.readers);
                rings[index] = _rings[index].get();
            }
        });
    }
    void make_stages(const std::vector<output*>& rings) {
        const as_of_its_own inherited(*_plan.options.group);
        for_own([&](unsigned index, const stage_plan& planned) {
            const view_context context{
                [&rings](unsigned stage) -> output& { return *rings[stage]; },
                [&](ring_view& leaf, unsigned writer) {
                    _leaves.push_back({&leaf, writer, index});
                }};
            _stages[index] = make_stage(planned, rings[index], context);
        });
    }
    /// Enters the gates of readers of our rings; both parts stand still.
    void join_leaves(const part& readers) {
        for (const leaf& each : readers._leaves) {
            if (_plan.stages[each.writer].shard != _own) {
                continue;
            }
            // Stages are numbered as they were laid: who reads a later one is fed back to.
            each.reading->join(each.reader <= each.writer);
            meet(each.writer, each.reader);
        }
    }
    void meet_writers() {
        for (const leaf& each : _leaves) {
            meet(each.reader, each.writer);
            _stages[each.reader]->add_leaf(*each.reading);
        }
        this_shard().port().listen(*this);
        if (!_plan.options.name.empty()) {
            for_own([&](unsigned index, const stage_plan&) {
                if (index < _plan.options.series_stages_max) {
                    _series.emplace_back(_plan.options.name, *_stages[index]);
                }
            });
        }
    }
    /// Once: what is called again, after some parts were started, starts only the others.
    void start() {
        if (std::exchange(_started, true)) {
            return;
        }
        if (_plan.options.paused && _stages[0]) {
            _stages[0]->pause();
        }
        for_each_stage([](stage& each) { each.start(); });
    }

    future<> until_ended() {
        for (const auto& each : _stages) {
            if (each && each.get() != _stages.back().get()) {
                co_await each->until_ended();
            }
        }
    }
    /// returns  what the sink ended with
    future<std::exception_ptr> until_sink_ended() {
        co_await _stages.back()->until_ended();
        co_return _stages.back()->failure();
    }
    void free_rings() {
        _series.clear();
        _rings.clear();
    }
    void abort(const std::exception_ptr& reason) noexcept {
        for_each_stage([&](stage& each) { each.abort(reason, _plan.options.abort_grace); });
    }
    future<> until_deserted() {
        _series.clear();
        for (const auto& each : _stages) {
            if (each) {
                co_await each->until_deserted();
            }
        }
    }

    stage& at(unsigned index) noexcept { return *_stages[index]; }

    /// into     by stage; ours only
    void sample(std::size_t elements, std::vector<stage_sample>& into) {
        for_own([&](unsigned index, const stage_plan&) {
            stage& each = *_stages[index];
            each.time_runs();
            stage_sample& taken = into[index];
            taken = {.stage = index,
                     .counted = each.counters(),
                     .over = each.over(),
                     .waits = each.waits(),
                     .readers = readers_of(index)};
            if (output* const ring = each.ring(); ring != nullptr) {
                ring->reclaim();  // what its readers have released since it last asked
                taken.cursor = ring->cursor();
                taken.queued = ring->queued();
                ring->print(elements, "  ", taken.newest);
            } else {
                taken.cursor = static_cast<sequence>(taken.counted.elements) - 1;
            }
        });
    }

  private:
    struct leaf {
        ring_view* reading;
        unsigned writer;
        unsigned reader;
    };
    /// Another shard, and our stages that wait for news from it.
    struct neighbour {
        shard_id peer;
        std::vector<stage*> waiting{};
    };

    // A stage may have several gates in a ring, one for each way in which it looks at it: the
    // slowest counts.
    std::vector<reader_sample> readers_of(unsigned index) const {
        std::vector<reader_sample> all;
        for (const leaf& each : _leaves) {
            if (each.reader != index) {
                continue;
            }
            const reader_sample now{each.writer, each.reading->taken(), each.reading->queued()};
            const auto known = std::ranges::find(all, each.writer, &reader_sample::writer);
            if (known == all.end()) {
                all.push_back(now);
            } else {
                known->taken = std::min(known->taken, now.taken);
                known->queued = std::max(known->queued, now.queued);
            }
        }
        return all;
    }

    template <typename Fn>
    void for_own(Fn fn) {
        for (unsigned index = 0; index < _plan.stages.size(); ++index) {
            if (_plan.stages[index].shard == _own) {
                fn(index, _plan.stages[index]);
            }
        }
    }
    template <typename Fn>
    void for_each_stage(Fn fn) {
        for (const auto& each : _stages) {
            if (each) {
                fn(*each);
            }
        }
    }

    /// Our stage tells `other` when it moves.
    void meet(unsigned ours, unsigned other) {
        if (_plan.stages[other].shard == _own) {
            _stages[ours]->add_neighbour(*_stages[other]);
        } else {
            const shard_id peer = _plan.stages[other].shard;
            _stages[ours]->add_neighbour(peer, _waiting[peer], _all[peer]->_waiting[_own]);
            const auto known = std::ranges::find(_neighbours, peer, &neighbour::peer);
            neighbour& met = known != _neighbours.end() ? *known : _neighbours.emplace_back(peer);
            if (std::ranges::find(met.waiting, _stages[ours].get()) == met.waiting.end()) {
                met.waiting.push_back(_stages[ours].get());
            }
        }
    }

    // Peers ring for calls, and for other deployments, far more often than for our stages.
    void rung(std::uint64_t bits) noexcept override {
        if (_rings.empty()) {
            return;
        }
        for (const neighbour& each : _neighbours) {
            if ((bits & bell::bit_of(each.peer)) != 0 && _waiting[each.peer].news()) {
                for (stage* const woken : each.waiting) {
                    woken->wake();
                }
            }
        }
    }

    std::unique_ptr<stage> make_stage(const stage_plan& planned, output* to,
                                      const view_context& context) const {
        const deploy_options& options = _plan.options;
        switch (planned.kind) {
            case stage_plan::form::source:
                return std::make_unique<source_stage>(planned, options, *to,
                                                      _plan.what.make_source());
            case stage_plan::form::work:
                return std::make_unique<work_stage>(planned, options, *to,
                                                    make_view(*planned.in, context),
                                                    make_chain(planned.nodes));
            case stage_plan::form::async:
                return std::make_unique<async_stage>(planned, options, *to,
                                                     make_view(*planned.in, context));
            case stage_plan::form::sink:
                return std::make_unique<sink_stage>(
                    planned, options, make_view(*planned.in, context), _plan.what.make_sink());
            case stage_plan::form::whole:
                return std::make_unique<whole_stage>(planned, options, _plan.what.make_loop());
        }
        __builtin_unreachable();
    }

    const plan& _plan;
    const shard_id _own;
    const std::vector<std::unique_ptr<part>>& _all;
    std::vector<waiting_word> _waiting;  // by shard that we wait for
    std::vector<neighbour> _neighbours;
    bool _started = false;
    std::vector<leaf> _leaves;
    std::vector<std::unique_ptr<output>> _rings;  // by stage; go before the stages' gates
    std::vector<std::unique_ptr<stage>> _stages;  // by stage
    std::vector<stage_series> _series;            // of ours; go before the stages and the rings
};

deployment::deployment(std::shared_ptr<const plan> laid)
    : _plan(std::move(laid)), _parts(this_host().shard_count()), _rings(_plan->stages.size()) {}

deployment::~deployment() {
    WEIR_ASSERT(std::ranges::none_of(_parts, [](const auto& each) { return each != nullptr; }));
}

/// Calls `fn(part&)` on each shard that has a part, and waits for all that it called, even if it
/// could not call the others.
template <typename Fn>
future<> deployment::on_parts(Fn fn) {
    std::vector<future<>> calls(_parts.size());
    co_await await_all(calls, [&] {
        for (shard_id to = 0; to < _parts.size(); ++to) {
            if (_parts[to]) {
                calls[to] =
                    futurize([&] { return on(to, [this, to, fn] { return fn(*_parts[to]); }); });
            }
        }
    });
}

/// Takes a step again until there is memory for it: others wait for what it does.
future<> deployment::insist(future<> (deployment::*step)()) {
    for (;;) {
        try {
            co_await (this->*step)();
            co_return;
        } catch (const std::bad_alloc&) {
        }
        co_await yield();
    }
}

future<> deployment::build() {
    std::vector<bool> used(_parts.size());
    for (const stage_plan& each : _plan->stages) {
        used[each.shard] = true;
    }
    for (shard_id to = 0; to < _parts.size(); ++to) {
        if (used[to]) {
            co_await on(to,
                        [this, to] { _parts[to] = std::make_unique<part>(*_plan, to, _parts); });
        }
    }
    co_await on_parts([this](part& each) { each.make_rings(_rings); });
    co_await on_parts([this](part& each) { each.make_stages(_rings); });
    co_await on_parts([this](part& each) {
        for (const auto& readers : _parts) {
            if (readers) {
                each.join_leaves(*readers);
            }
        }
    });
    co_await on_parts([](part& each) { each.meet_writers(); });
}

future<> deployment::start() {
    return on_parts([](part& each) { each.start(); });
}

future<> deployment::join() {
    if (_joined) {
        if (_failure) {
            std::rethrow_exception(_failure);
        }
        co_return;
    }
    WEIR_ASSERT(!std::exchange(_joining, true) && "join() is under way");
    co_await insist(&deployment::until_ended);
    co_await _samplers.close();
    if (std::ranges::any_of(_at_end, [](const auto& each) { return each.counted.disowned != 0; })) {
        std::unique_ptr<deployment> remains(new deployment(_plan));
        std::swap(remains->_parts, _parts);
        bury(std::move(remains)).ignore();
    } else {
        co_await insist(&deployment::take_apart);
    }
    _joined = true;
    if (_failure) {
        std::rethrow_exception(_failure);
    }
}

// Whoever waits for what was disowned has the parts, and so all that it may look at.
future<> deployment::bury(std::unique_ptr<deployment> remains) {
    co_await remains->insist(&deployment::until_deserted);
    co_await remains->insist(&deployment::take_apart);
}

future<> deployment::until_deserted() {
    return on_parts([](part& each) { return each.until_deserted(); });
}

future<> deployment::until_ended() {
    const shard_id last = _plan->stages.back().shard;
    _failure = co_await on(last, [this, last] { return _parts[last]->until_sink_ended(); });
    // Stages that nobody reads end by themselves; those of a loop read one another.
    co_await stop();
    co_await on_parts([](part& each) { return each.until_ended(); });
    _at_end = co_await ask_parts(0);
}

// Rings look at their readers' gates as they go, so all of them go first.
future<> deployment::take_apart() {
    co_await on_parts([](part& each) { each.free_rings(); });
    for (shard_id to = 0; to < _parts.size(); ++to) {
        if (_parts[to]) {
            co_await on(to, [this, to] { _parts[to].reset(); });
        }
    }
}

/// Calls `fn(stage&)` with the first stage on its shard.
template <typename Fn>
future<> deployment::with_source(Fn fn) {
    const shard_id first = _plan->stages[0].shard;
    return futurize([&] {
        return on(first, [this, first, fn] {
            if (_parts[first]) {
                fn(_parts[first]->at(0));
            }
        });
    });
}

future<> deployment::stop() {
    return with_source([](stage& from) { from.stop(); });
}
future<> deployment::abort(std::exception_ptr reason) {
    if (_samplers.closed()) {
        co_return;
    }
    const gate::holder inside = _samplers.hold();  // join() frees nothing meanwhile
    if (!reason) {
        reason = std::make_exception_ptr(error("run", "pipeline", errc::aborted));
    }
    co_await on_parts([reason](part& each) { each.abort(reason); });
}
future<> deployment::pause() {
    return with_source([](stage& from) { from.pause(); });
}
future<> deployment::resume() {
    return with_source([](stage& from) { from.resume(); });
}

future<std::vector<stage_sample>> deployment::sample(std::size_t elements) {
    if (_samplers.closed()) {
        co_return _at_end;
    }
    const gate::holder inside = _samplers.hold();  // join() frees nothing meanwhile
    co_return co_await ask_parts(elements);
}

future<std::vector<stage_sample>> deployment::ask_parts(std::size_t elements) {
    std::vector<stage_sample> all(_plan->stages.size());
    co_await on_parts([&all, elements](part& asked) { asked.sample(elements, all); });
    co_return all;
}

future<std::unique_ptr<deployment>> deploy(program what, deploy_options options) {
    options.where.base = options.where.base.value_or(this_shard().id());
    options.group = options.group.value_or(this_shard().context().group);
    plan laid = lay_out(std::move(what), std::move(options), this_host().shard_count());
    laid.cpus = this_host().options().cpus;
    std::unique_ptr<deployment> made(new deployment(std::make_shared<const plan>(std::move(laid))));
    std::exception_ptr failure;
    try {
        co_await made->build();
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        // A source, a kernel, a sink or a ring could not be made; no stage has begun.
        co_await made->insist(&deployment::take_apart);
        std::rethrow_exception(std::move(failure));
    }
    co_await made->insist(&deployment::start);
    co_return made;
}

future<> run(program what, deploy_options options) {
    const auto deployed = co_await deploy(std::move(what), std::move(options));
    co_await deployed->join();
}

}  // namespace weir::pipeline
