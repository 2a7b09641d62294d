// SPDX-License-Identifier: Apache-2.0
#include <weir/io/run.hh>

#include <atomic>
#include <barrier>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

#include <weir/core/cgroup.hh>
#include <weir/core/log.hh>
#include <weir/core/topology.hh>
#include <weir/io/budget_metrics.hh>
#include <weir/io/listening.hh>
#include <weir/io/standard_descriptors.hh>
#include <weir/io/stop_signals.hh>
#include <weir/io/system_clock.hh>
#include <weir/io/uring_metrics.hh>

namespace weir::io {

namespace {

std::vector<shard_place> places_of(run_options& options) {
    if (!options.placement.quota_cpus) {
        options.placement.quota_cpus = cgroup_limits().cpus;
    }
    auto places = place(discover_topology(), options.placement);
    options.host.shards = static_cast<unsigned>(places.size());
    options.host.cpus.clear();
    for (const shard_place& each : places) {
        if (options.pin) {
            options.host.cpus.push_back(each.cpu);
        }
    }
    return places;
}

/// The threads of a host and the steps that they take together.
class runner {
  public:
    runner(run_options options, application program)
        : _places(places_of(options)),
          _options(std::move(options)),
          _program(std::move(program)),
          _pool(_options.blocking),
          _cycles(cycle_counter::calibrate()),
          _host(_options.host),
          _backends(_places.size()),
          _together(static_cast<std::ptrdiff_t>(_places.size())) {}

    int run();

  private:
    void run_thread(shard_id id) noexcept;
    void live(shard_id id);
    void set_up(shard_id id);
    void turn_until_end(shard_id id);
    void end() noexcept;
    void drain(shard_id id);
    void take_down(shard_id id);

    const std::vector<shard_place> _places;
    const run_options _options;
    const application _program;
    thread_pool _pool;
    const cycle_counter _cycles;
    listening_addresses _listening;
    host _host;
    std::vector<std::unique_ptr<uring>> _backends;
    std::barrier<> _together;
    std::optional<stop_signals> _signals;
    std::atomic<bool> _set_up_failed = false;
    std::atomic<bool> _ended = false;
    std::atomic<std::size_t> _drained = 0;  // shards with nothing left to do
    std::exception_ptr _set_up_failure;     // of the first shard that set _set_up_failed
    int _status = 0;                        // shard 0's
};

int runner::run() {
    if (_options.handle_signals) {
        _signals.emplace();
    }
    std::vector<std::thread> threads;
    threads.reserve(_places.size());
    for (shard_id id = 0; id < _places.size(); ++id) {
        threads.emplace_back([this, id] { run_thread(id); });
    }
    if (_signals) {
        _signals->wait([this] { _host.request_stop(); });
    }
    for (auto& thread : threads) {
        thread.join();
    }
    if (_set_up_failed) {
        std::rethrow_exception(_set_up_failure);
    }
    return _status;
}

/// Nothing is thrown here but failures to set up: the program's own end in its future.
void runner::run_thread(shard_id id) noexcept {
    pthread_setname_np(pthread_self(), ("weir-" + std::to_string(id)).c_str());
    try {
        set_up(id);
    } catch (...) {
        if (!_set_up_failed.exchange(true)) {
            _set_up_failure = std::current_exception();
        }
    }
    _together.arrive_and_wait();
    if (!_set_up_failed) {
        live(id);
    }
    take_down(id);
    if (id == 0 && _signals) {
        _signals->end();
    }
}

/// On its own thread and cpu, so that the ring and the shard's memory are near.
void runner::set_up(shard_id id) {
    if (_options.pin) {
        pin_this_thread(_places[id].cpu);
        bind_memory_local();
    }
    _backends[id] = make_uring(_options.uring, _pool, _cycles, &_listening);
    _host.add_shard(id, *_backends[id]);
}

void runner::live(shard_id id) {
    if (id == 0) {
        _host.connect();
        if (_signals) {
            _signals->ready();
        }
    }
    _together.arrive_and_wait();
    shard& own = _host.at(id);
    const shard_scope scope(&own);
    const auto registered = register_metrics(own.metrics(), *_backends[id]);
    const budget_metrics budget(own, _backends[id]->budget());
    own.log().write(own.log_context(), log_level::info, "shard runs",
                    {{"cpu", _places[id].cpu}, {"backend", _backends[id]->description()}});
    turn_until_end(id);
    drain(id);
}

void runner::turn_until_end(shard_id id) {
    shard& own = _host.at(id);
    std::optional<stall_watch> stalls;
    if (_options.stall.threshold > duration::zero()) {
        stalls.emplace(own, _options.stall);
    }
    std::optional<future<>> program;
    if (id == 0) {
        program.emplace(futurize(_program, _host));
    }
    while (!_ended.load(std::memory_order_relaxed)) {
        const instant next = own.turn();
        if (stalls) {
            stalls->report();
        }
        if (program && program->available()) {
            try {
                program->take();
            } catch (const std::exception& failure) {
                own.log().write(own.log_context(), log_level::error, "the program failed",
                                {{"cause", failure.what()}});
                _status = 1;
            }
            return end();
        }
        own.park(next);
    }
}

void runner::end() noexcept {
    _ended.store(true, std::memory_order_relaxed);
    for (auto& backend : _backends) {
        backend->interrupt();
    }
}

/// Lets files close and cancelled operations come back, so that their owners end too. Shards
/// answer each other until none has anything left to do.
void runner::drain(shard_id id) {
    shard& own = _host.at(id);
    uring& backend = *_backends[id];
    const instant patience_ends = backend.now() + _options.drain_patience;
    bool cancelled = false, drained = false;
    while (_drained.load(std::memory_order_relaxed) < _places.size()) {
        const instant next = own.turn();
        const auto& counted = backend.statistics();
        if (next > own.now() && !cancelled) {
            cancelled = true;
            backend.budget().cancel_waiting();
            backend.cancel_all();
        } else if (own.now() > patience_ends ||
                   (next > own.now() && counted.started == counted.completed)) {
            _drained.fetch_add(!std::exchange(drained, true), std::memory_order_relaxed);
        }
        own.park(std::min(next, own.now() + std::chrono::milliseconds(1)));
    }
}

void runner::take_down(shard_id id) {
    _together.arrive_and_wait();
    if (id == 0) {
        _host.disconnect();
    }
    _together.arrive_and_wait();
    if (_backends[id]) {
        _backends[id]->stop();
    }
    if (!_set_up_failed) {
        const shard_scope scope(&_host.at(id));
        _host.remove_shard(id);
    }
    _together.arrive_and_wait();
}

}  // namespace

int run(run_options options, application program) {
    hold_standard_descriptors();
    return runner(std::move(options), std::move(program)).run();
}

}  // namespace weir::io
