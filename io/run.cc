// SPDX-License-Identifier: Apache-2.0
#include <weir/io/run.hh>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <bit>
#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <pthread.h>
#include <signal.h>

#include <weir/core/cgroup.hh>
#include <weir/core/error.hh>
#include <weir/core/log.hh>
#include <weir/core/topology.hh>
#include <weir/io/budget_metrics.hh>
#include <weir/io/crash_report.hh>
#include <weir/io/listening.hh>
#include <weir/io/remedy.hh>
#include <weir/io/standard_descriptors.hh>
#include <weir/io/stop_signals.hh>
#include <weir/io/system_clock.hh>
#include <weir/io/turn_watch.hh>
#include <weir/io/uring_metrics.hh>

namespace weir::io {

namespace {

std::vector<shard_place> places_of(run_options& options) {
    const resource_limits granted = cgroup_limits();
    if (!options.placement.quota_cpus) {
        options.placement.quota_cpus = granted.cpus;
    }
    auto places = place(discover_topology(), options.placement);
    options.host.shards = static_cast<unsigned>(places.size());
    fit_to_memory(options, usable_memory_bytes(granted), options.host.shards);
    options.host.cpus.clear();
    for (const shard_place& each : places) {
        if (options.pin) {
            options.host.cpus.push_back(each.cpu);
        }
    }
    return places;
}

/// Lowers what stands at its default to what fits, but not below what work needs.
template <typename Number>
void lower(Number& value, std::type_identity_t<Number> by_default, std::uint64_t fits,
           std::type_identity_t<Number> least) noexcept {
    if (value == by_default) {
        value = static_cast<Number>(std::clamp<std::uint64_t>(fits, least, by_default));
    }
}

/// What is being handled, with its remedy if there is one and memory to say it.
std::exception_ptr why_no_thread(shard_id id) noexcept {
    try {
        throw;
    } catch (const std::system_error& cause) {
        try {
            return std::make_exception_ptr(error(
                "start", with_remedy("thread of shard " + std::to_string(id), cause.code().value()),
                cause.code()));
        } catch (...) {
            return std::current_exception();
        }
    } catch (...) {
        return std::current_exception();
    }
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
          _log(_host.log_sink(), "run", _host.options().logging),
          _shards(_places.size()),
          _together(static_cast<std::ptrdiff_t>(_places.size())) {}

    int run();

  private:
    /// A shard and what it has beside itself. All that may fail is made before the first turn.
    struct running_shard {
        shard* own = nullptr;
        std::unique_ptr<uring> backend;
        std::vector<metrics::registration> registered;
        std::optional<budget_metrics> budget;
        std::optional<stall_watch> stalls;
        std::optional<turn_watch::seat> waits;
    };

    void start_threads();
    void hear(int signal) noexcept;
    void fail_set_up(std::exception_ptr failure) noexcept;
    void run_thread(shard_id id) noexcept;
    void set_up(shard_id id);
    void live(shard_id id);
    void turn_until_end(shard_id id);
    void end(future<> program) noexcept;
    void drain(shard_id id);
    void take_down(shard_id id);

    const std::vector<shard_place> _places;
    const run_options _options;
    const application _program;
    thread_pool _pool;
    const cycle_counter _cycles;
    listening_addresses _listening;
    host _host;
    logger _log;  // of the thread that runs no shard
    std::vector<running_shard> _shards;
    std::vector<std::thread> _threads;
    std::barrier<> _together;
    std::optional<stop_signals> _signals;
    std::optional<turn_watch> _watch;
    std::atomic<bool> _set_up_failed = false;
    std::atomic<bool> _ended = false;
    std::atomic<std::size_t> _drained = 0;  // shards with nothing left to do
    std::exception_ptr _set_up_failure;     // of the first that set _set_up_failed
    int _status = 0;                        // shard 0's
};

int runner::run() {
    if (_options.handle_signals) {
        _signals.emplace();
    }
    std::optional<crash_reports> crashes;
    if (_options.report_crashes) {
        crashes.emplace();
    }
    if (_options.stall.wait_threshold > duration::zero()) {
        _watch.emplace(_host, _options.stall.wait_threshold);
    }
    start_threads();
    if (_signals && !_threads.empty()) {
        _signals->wait([this](int signal) { hear(signal); });
    }
    for (auto& thread : _threads) {
        thread.join();
    }
    if (_set_up_failed) {
        std::rethrow_exception(_set_up_failure);
    }
    return _status;
}

/// Where a thread can't be made the others, which wait for it, go on without it, to their end.
void runner::start_threads() {
    _threads.reserve(_places.size());
    for (shard_id id = 0; id < _places.size(); ++id) {
        try {
            _threads.emplace_back([this, id] { run_thread(id); });
        } catch (...) {
            fail_set_up(why_no_thread(id));
            for (; id < _places.size(); ++id) {
                _together.arrive_and_drop();
            }
        }
    }
}

/// At any moment from the start of the threads to their end: whatever lacks, the stop is heard.
void runner::hear(int signal) noexcept {
    const bool again = _host.stop_requested();
    _host.request_stop();
    _log.write({wall_clock_now()}, log_level::info, again ? "asked again to stop" : "asked to stop",
               {{"signal", signal == SIGINT ? "SIGINT" : "SIGTERM"}});
}

void runner::fail_set_up(std::exception_ptr failure) noexcept {
    if (!_set_up_failed.exchange(true)) {
        _set_up_failure = std::move(failure);
    }
}

/// Nothing is thrown here but failures to set up: the program's own end in its future.
void runner::run_thread(shard_id id) noexcept {
    pthread_setname_np(pthread_self(), ("weir-" + std::to_string(id)).c_str());
    const signal_stack stack;
    try {
        set_up(id);
    } catch (...) {
        fail_set_up(std::current_exception());
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
    running_shard& made = _shards[id];
    made.backend = make_uring(_options.uring, _pool, _cycles, &_listening);
    made.backend->poll();  // makes this thread the ring's, or says why not
    made.own = &_host.add_shard(id, *made.backend);
    const shard_scope scope(made.own);
    made.registered = register_metrics(made.own->metrics(), *made.backend);
    made.budget.emplace(*made.own, made.backend->budget());
    if (_options.stall.threshold > duration::zero()) {
        made.stalls.emplace(*made.own, _options.stall);
    }
    if (_watch) {
        made.waits.emplace(*_watch, *made.own);
    }
}

void runner::live(shard_id id) {
    if (id == 0) {
        _host.connect();
    }
    _together.arrive_and_wait();
    running_shard& running = _shards[id];
    shard& own = *running.own;
    const shard_scope scope(&own);
    own.log().write(own.log_context(), log_level::info, "shard runs",
                    {{"cpu", _places[id].cpu}, {"backend", running.backend->description()}});
    turn_until_end(id);
    drain(id);
}

void runner::turn_until_end(shard_id id) {
    running_shard& running = _shards[id];
    shard& own = *running.own;
    std::optional<future<>> program;
    if (id == 0) {
        program.emplace(futurize(_program, _host));
    }
    while (!_ended.load(std::memory_order_relaxed)) {
        if (running.waits) {
            running.waits->begin();
        }
        const instant next = own.turn();
        if (running.waits) {
            running.waits->end();
        }
        if (running.stalls) {
            running.stalls->report();
        }
        if (program && program->available()) {
            return end(std::move(*program));
        }
        own.park(next);
    }
}

/// Whatever it failed with, be it a std::exception or not.
void runner::end(future<> program) noexcept {
    if (program.failed()) {
        shard& own = this_shard();
        own.log().write(own.log_context(), log_level::error, "the program failed",
                        {{"cause", what_of(program.take_failure())}});
        _status = 1;
    }
    _ended.store(true, std::memory_order_relaxed);
    for (auto& each : _shards) {
        each.backend->interrupt();
    }
}

/// Lets files close and cancelled operations come back, so that their owners end too. Shards
/// answer each other until none has anything left to do.
void runner::drain(shard_id id) {
    shard& own = *_shards[id].own;
    uring& backend = *_shards[id].backend;
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
    running_shard& ending = _shards[id];
    _together.arrive_and_wait();
    if (id == 0) {
        _host.disconnect();
    }
    _together.arrive_and_wait();
    if (ending.backend) {
        ending.backend->stop();
    }
    if (ending.own != nullptr) {
        const shard_scope scope(ending.own);
        ending.waits.reset();
        ending.stalls.reset();
        ending.budget.reset();
        ending.registered.clear();
        _host.remove_shard(id);
    }
    _together.arrive_and_wait();
}

}  // namespace

// Of each shard's share of the memory: a thirty-second for free blocks, a sixteenth each for stacks
// kept and for buffers lent, and a quarter for fibers, as far as they commonly touch their stacks.
void fit_to_memory(run_options& options, std::uint64_t memory_bytes, unsigned shards) noexcept {
    constexpr std::uint64_t pool_sizes = block_pool::largest_block / block_pool::granule;
    constexpr std::uint64_t touched_bytes = std::uint64_t{16} << 10;
    const std::uint64_t share = memory_bytes / shards;
    if (options.host.memory_bytes == 0) {
        options.host.memory_bytes = memory_bytes;
    }
    shard_options& shard = options.host.shard;
    lower(shard.pool_cache_bytes, shard_options{}.pool_cache_bytes, share / 32 / pool_sizes, 4096);
    lower(shard.fibers, shard_options{}.fibers, share / 4 / touched_bytes, 64);
    lower(shard.fiber_stacks_kept, shard_options{}.fiber_stacks_kept,
          share / 16 / std::max<std::size_t>(shard.fiber_stack_bytes, 1), 4);
    uring_options& ring = options.uring;
    const std::uint64_t lent = share / 16 / std::max(ring.receive_buffer_bytes, 1U);
    lower(ring.receive_buffers, uring_options{}.receive_buffers, std::bit_floor(lent), 8);
    // The rings of calls between all pairs, if all are used.
    mesh_options& mesh = options.host.mesh;
    const auto rings_bytes = [&] {
        return std::uint64_t{shards} * (shards - 1) * mesh.capacity() *
               (sizeof(call_message) + sizeof(call_reply));
    };
    if (mesh.call_credits == mesh_options{}.call_credits) {
        while (rings_bytes() > memory_bytes / 8 && mesh.call_credits > mesh.call_credits_least) {
            mesh.call_credits /= 2;
        }
    }
}

int run(run_options options, application program) {
    hold_standard_descriptors();
    return runner(std::move(options), std::move(program)).run();
}

}  // namespace weir::io
