// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/world.hh>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/core/shard.hh>
#include <weir/io/sim/crash_note.hh>

namespace weir::io::sim {

namespace {

host_options with_log(host_options options, log_sink& log) {
    options.log = &log;
    return options;
}

}  // namespace

void host_log::write(const log_line& line) noexcept {
    const memory::outside guard;
    std::string text = to_logfmt(line, false);
    _engine.log.event(_engine.now(), _host, line.context.shard.value_or(0), event_kind::note,
                      hash_bytes(text.data(), text.size()));
    _lines.push_back(std::move(text));
    if (_lines.size() > lines_kept) {
        _lines.pop_front();
    }
    if (_also != nullptr) {
        _also->write(line);
    }
}

sim_host::sim_host(world& owner, engine& shared, network& net, std::uint32_t id,
                   host_options options, const disk_options& storage)
    : _world(owner),
      _log(shared, id, options.log),
      _options(with_log(std::move(options), _log)),
      _machine(shared, net, id, _options.name, storage) {}

void sim_host::start(application program) {
    _program = std::move(program);
    boot();
}

void sim_host::boot() {
    WEIR_ASSERT(!running() && _program);
    _exited = _exit_due = false;
    _failure.clear();
    _machine.boot(_options.shards);
    {
        const memory::inside guard(_machine.memory());
        _process = new weir::host(_options);
        for (shard_id id = 0; id < _options.shards; ++id) {
            _process->add_shard(id, _machine.backend(id));
        }
        _process->connect();
        _done = nullptr;
    }
    for (shard_id id = 0; id < _options.shards; ++id) {
        _machine.set_turn(id, [this, id] { return turn(id); });
    }
}

// What a real thread does around a turn: begin the application, turn, and fall asleep.
instant sim_host::turn(unsigned id) {
    shard& own = _process->at(id);
    const shard_scope scope(&own);
    if (id == 0 && _done == nullptr) {
        _done = new future<>(futurize(_program, *_process));
    }
    const instant next = own.turn();
    if (id == 0 && _done->available() && !_exit_due) {
        ended(*_done);
    }
    return next > own.now() && own.bell().fall_asleep() ? next : own.now();
}

void sim_host::ended(future<>& done) {
    std::string failure;
    if (done.failed()) {
        failure = what_of(done.take_failure());
    }
    const memory::outside guard;
    _exit_due = true;
    _failure = failure;
    // Not here, in the middle of its turn.
    _world.after(duration(0), [this, process = _machine.incarnation()] {
        if (_machine.runs(process)) {
            _machine.down(false);
            _process = nullptr;
            _exited = true;
        }
    });
}

world::world(std::uint64_t seed, world_options options)
    : _seed(seed), _engine(seed, options), _network(_engine) {
    crash_note(fmt::format("simulated: seed {}", seed));
    plan_nemesis();
}

world::~world() {
    crash_note({});
}

sim_host& world::add_host(std::string_view name, unsigned shards) {
    host_options options;
    options.name = name;
    options.shards = shards;
    return add_host(std::move(options));
}

sim_host& world::add_host(host_options options) {
    return add_host(std::move(options), _engine.options.disk);
}

sim_host& world::add_host(host_options options, const disk_options& storage) {
    // Without a constructor that make_unique could call.
    std::unique_ptr<sim_host> added(new sim_host(*this, _engine, _network,
                                                 static_cast<std::uint32_t>(_hosts.size()),
                                                 std::move(options), storage));
    _network.add(added->_machine);
    _hosts.push_back(std::move(added));
    return *_hosts.back();
}

void world::step() {
    _engine.events.step();
}

void world::run_for(duration time) {
    const instant end = now() + time;
    while (_engine.events.next() <= end) {
        step();
    }
    _engine.events.advance(end);
}

bool world::run_until(const std::function<bool()>& condition, duration limit) {
    const instant end = now() + limit;
    while (!condition()) {
        if (_engine.events.next() > end) {
            _engine.events.advance(end);
            return condition();
        }
        step();
    }
    return true;
}

void world::after(duration delay, std::function<void()> what) {
    _engine.events.after(delay, std::move(what));
}

void world::power_cut(sim_host& victim) {
    WEIR_ASSERT(!on_a_shard());
    _engine.faults.count(fault::power_cut);
    victim._process = nullptr;
    victim._machine.down(true);
}

void world::kill(sim_host& victim) {
    WEIR_ASSERT(!on_a_shard());
    _engine.faults.count(fault::process_kill);
    victim._process = nullptr;
    victim._machine.down(false);
}

void world::restart(sim_host& stopped) {
    stopped.boot();
}

void world::stop(sim_host& running) {
    if (running._process != nullptr) {
        const memory::inside guard(running._machine.memory());
        running._process->request_stop();
    }
}

void world::partition(sim_host& a, sim_host& b) {
    _engine.faults.count(fault::partition);
    _network.block(a._machine, b._machine, true);
    _network.block(b._machine, a._machine, true);
}

void world::partition_one_way(sim_host& from, sim_host& to) {
    _engine.faults.count(fault::one_way_partition);
    _network.block(from._machine, to._machine, true);
}

void world::isolate(sim_host& lonely) {
    for (auto& other : _hosts) {
        if (other.get() != &lonely) {
            partition(lonely, *other);
        }
    }
}

void world::clog(sim_host& from, sim_host& to, duration time) {
    _engine.faults.count(fault::clog);
    _network.clog(from._machine, to._machine, time);
}

void world::heal() {
    ++_healings;
    _network.heal_all();
}

void world::stop_faults() {
    _engine.faults.stop();
    heal();
    for (auto& each : _hosts) {
        if (!each->running() && each->_program && !each->_exited) {
            restart(*each);
        }
    }
}

void world::note(std::uint64_t value) {
    _engine.log.event(now(), 0, 0, event_kind::note, value);
}

std::string world::report() const {
    const double simulated = std::chrono::duration<double>(now().time_since_epoch()).count();
    return fmt::format("seed {} simulated {:.3f} s events {} hash {:016x} faults {}\n{}", _seed,
                       simulated, _engine.log.events(), hash(), _engine.faults.injected(),
                       _engine.faults.report());
}

std::string world::logs(std::size_t lines_each) const {
    std::string text;
    for (const auto& each : _hosts) {
        const auto& lines = each->log();
        const std::size_t first = lines.size() - std::min(lines.size(), lines_each);
        text += fmt::format("{}:\n", each->name());
        for (std::size_t i = first; i < lines.size(); ++i) {
            text += "  " + lines[i];
        }
    }
    return text;
}

}  // namespace weir::io::sim
