// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/machine.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <weir/core/assert.hh>

namespace weir::io::sim {

machine::machine(engine& shared, network& net, std::uint32_t id, std::string name,
                 const disk_options& storage)
    : _engine(shared),
      _network(net),
      _id(id),
      _name(std::move(name)),
      _address(0x0a000000 + id + 1),  // 10.0.0.1 and on
      _disk(storage, shared.faults),
      _clock(shared),
      _next_port(static_cast<std::uint16_t>(shared.traffic.between(32768, 60000))) {}

machine::~machine() {
    if (running()) {
        down(true);
    }
}

sockaddr_storage machine::at(std::uint16_t port) const noexcept {
    sockaddr_storage result{};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(_address);
    std::memcpy(&result, &address, sizeof(address));
    return result;
}

void machine::boot(unsigned shards) {
    WEIR_ASSERT(!running() && shards > 0);
    _powered = true;
    ++_incarnation;
    _memory = std::make_unique<memory::arena>();
    for (unsigned i = 0; i < shards; ++i) {
        auto state = std::make_unique<shard_state>();
        state->backend = std::make_unique<shard_backend>(_engine, *this, i);
        _shards.push_back(std::move(state));
    }
    _engine.log.event(_engine.now(), _id, shards, event_kind::host_up, _incarnation);
}

void machine::set_turn(unsigned shard, turn_function turn) {
    _shards[shard]->turn = std::move(turn);
    schedule(shard, _engine.now());
}

void machine::schedule(unsigned shard, instant when) {
    shard_state& state = *_shards[shard];
    when = std::max(when, state.busy_until);
    if (!state.turn || when == never || when >= state.scheduled) {
        return;
    }
    state.scheduled = when;
    const std::uint64_t appointment = ++state.appointment;
    _engine.events.at(when, [this, shard, appointment, process = _incarnation] {
        if (!runs(process) || _shards[shard]->appointment != appointment) {
            return;
        }
        if (const instant busy = _shards[shard]->busy_until; busy > _engine.now()) {
            _shards[shard]->scheduled = never;
            schedule(shard, busy);
        } else {
            take_turn(shard, _engine.now());
        }
    });
}

void machine::wake(unsigned shard, duration later) {
    const time_range delay = _engine.options.schedule.wake;
    schedule(shard, _engine.now() + later + _engine.schedule.between(delay.low, delay.high));
}

// The turns that others take in here are in the past of this one when it goes on.
void machine::hold_up(unsigned shard) {
    const schedule_options& options = _engine.options.schedule;
    shard_backend& own = backend(shard);
    instant until = _engine.now() + own.spent();
    if (_engine.schedule.one_in(options.held_up_one_in)) {
        until += _engine.schedule.between(options.held_up.low, options.held_up.high);
    }
    while (const std::optional<unsigned> next = next_turn(until)) {
        const instant when = _shards[*next]->scheduled;
        own.spend(std::max(when - _engine.now() - own.spent(), duration::zero()));
        take_turn(*next, when);
    }
}

/// The shard whose turn is due first, `until` at the latest, of those that are in none.
std::optional<unsigned> machine::next_turn(instant until) const {
    std::optional<unsigned> first;
    for (unsigned shard = 0; shard < shards(); ++shard) {
        const shard_state& state = *_shards[shard];
        if (!state.in_turn && state.scheduled <= until &&
            (!first || state.scheduled < _shards[*first]->scheduled)) {
            first = shard;
        }
    }
    return first;
}

void machine::take_turn(unsigned shard, instant when) {
    shard_state& state = *_shards[shard];
    WEIR_ASSERT(!state.in_turn);
    state.scheduled = never;
    ++state.appointment;
    const schedule_options& options = _engine.options.schedule;
    state.backend->begin_turn(when - _engine.now());
    state.in_turn = true;
    instant wanted;
    {
        memory::inside guard(*_memory);
        wanted = state.turn();
    }
    state.in_turn = false;
    if (wanted == stopped_running) {
        return;
    }
    duration cost = state.backend->take_spent() +
                    _engine.schedule.between(options.turn_cost.low, options.turn_cost.high);
    if (_engine.faults.strikes(fault::pause)) {
        cost += _engine.schedule.between(options.pause.low, options.pause.high);
    }
    state.busy_until = _engine.now() + cost;
    _engine.log.event(_engine.now(), _id, shard, event_kind::turn,
                      static_cast<std::uint64_t>(cost.count()));
    if (state.backend->completions_wait()) {
        schedule(shard, state.busy_until);
    } else {
        schedule(shard, _clock.world(wanted));
    }
}

void machine::down(bool power_cut) {
    _engine.log.event(_engine.now(), _id, 0, event_kind::host_down, power_cut);
    for (auto& state : _shards) {
        state->backend->detach();
    }
    cut_writes_in_flight(power_cut);
    _descriptors.clear();
    _network.host_down(*this, power_cut);
    if (power_cut) {
        _powered = false;
        _disk.power_cut();
        _engine.log.event(_engine.now(), _id, 0, event_kind::crash, _disk.used());
    }
    _shards.clear();
    if (_memory) {
        memory::free_all(*_memory);
        _memory.reset();
    }
}

int machine::refuses_descriptor() {
    if (_engine.faults.strikes(fault::no_descriptor)) {
        return _engine.faults.random().one_in(2) ? -EMFILE : -ENFILE;
    }
    const auto used =
        std::count_if(_descriptors.begin(), _descriptors.end(), [](auto& d) { return d.used(); });
    return used < _engine.options.network.descriptors ? 0 : -EMFILE;
}

int machine::add(descriptor opened) {
    std::size_t fd = 0;
    while (fd < _descriptors.size() && _descriptors[fd].used()) {
        ++fd;
    }
    if (fd >= _engine.options.network.descriptors) {
        return -EMFILE;
    }
    if (fd == _descriptors.size()) {
        _descriptors.emplace_back();
    }
    if (opened.socket) {
        ++opened.socket->holders;
    }
    _descriptors[fd] = std::move(opened);
    return static_cast<int>(fd) + first_descriptor;
}

descriptor* machine::find(int fd) noexcept {
    const std::size_t index = static_cast<std::size_t>(fd - first_descriptor);
    return fd >= first_descriptor && index < _descriptors.size() && _descriptors[index].used()
               ? &_descriptors[index]
               : nullptr;
}

int machine::close(int fd) {
    descriptor* found = find(fd);
    if (found == nullptr) {
        return -EBADF;
    }
    const descriptor closed = std::exchange(*found, {});
    if (closed.socket) {
        _network.let_go(closed.socket);
    }
    return 0;
}

std::uint16_t machine::ephemeral_port() {
    _next_port = _next_port >= 60999 ? 32768 : static_cast<std::uint16_t>(_next_port + 1);
    return _next_port;
}

}  // namespace weir::io::sim
