// SPDX-License-Identifier: Apache-2.0
// The random faults that do not wait for an operation: partitions, clogs, power cuts, kills and
// jumps of the clock, each undone after a while.
#include <algorithm>
#include <array>

#include <weir/io/sim/world.hh>

namespace weir::io::sim {

namespace {

constexpr std::array own_occasion = {
    fault::partition,    fault::one_way_partition, fault::clog,   fault::power_cut,
    fault::process_kill, fault::wall_clock_step,   fault::bit_rot};

}  // namespace

void world::plan_nemesis() {
    const bool any = std::any_of(own_occasion.begin(), own_occasion.end(),
                                 [&](fault which) { return _engine.faults.plan()[which] != 0; });
    if (any && _engine.faults.active()) {
        const duration period = _engine.options.nemesis_period;
        after(_engine.faults.random().between(period / 2, period * 3 / 2), [this] {
            if (_engine.faults.active()) {
                strike();
                plan_nemesis();
            }
        });
    }
}

void world::strike() {
    if (_hosts.empty()) {
        return;
    }
    random_stream& random = _engine.faults.random();
    if (_hosts.size() > 1) {
        strike_network();
    }
    strike_host(*_hosts[random.below(_hosts.size())]);
}

void world::strike_network() {
    random_stream& random = _engine.faults.random();
    const time_range outage = _engine.options.outage;
    const std::size_t first = random.below(_hosts.size());
    const std::size_t second = (first + random.between(1, _hosts.size() - 1)) % _hosts.size();
    sim_host& a = *_hosts[first];
    sim_host& b = *_hosts[second];
    const auto heal_later = [&](bool both) {
        after(random.between(outage.low, outage.high), [this, &a, &b, both, era = _healings] {
            if (era == _healings) {
                _network.block(a._machine, b._machine, false);
                if (both) {
                    _network.block(b._machine, a._machine, false);
                }
            }
        });
    };
    if (_engine.faults.would_strike(fault::partition)) {
        partition(a, b);
        heal_later(true);
    } else if (_engine.faults.would_strike(fault::one_way_partition)) {
        partition_one_way(a, b);
        heal_later(false);
    }
    if (_engine.faults.would_strike(fault::clog)) {
        // Many pairs clogged in one order and freed in another finds most: each has its own time.
        for (auto& from : _hosts) {
            for (auto& to : _hosts) {
                if (from != to && random.one_in(2)) {
                    clog(*from, *to, random.between(outage.low, outage.high));
                }
            }
        }
    }
}

void world::strike_host(sim_host& victim) {
    random_stream& random = _engine.faults.random();
    if (_engine.faults.strikes(fault::wall_clock_step)) {
        const auto step = static_cast<std::int64_t>(random.below(20'000)) - 10'000;
        victim._machine.clock().step_wall(step);
    }
    if (_engine.faults.would_strike(fault::bit_rot) && victim.disk().rot()) {
        _engine.faults.count(fault::bit_rot);
    }
    if (!victim.running()) {
        return;
    }
    const time_range outage = _engine.options.outage;
    if (_engine.faults.would_strike(fault::power_cut)) {
        power_cut(victim);
        bring_back(victim, random.between(outage.low, outage.high));
    } else if (_engine.faults.would_strike(fault::process_kill)) {
        kill(victim);
        bring_back(victim, random.between(outage.low, outage.high));
    }
}

void world::bring_back(sim_host& stopped, duration wait) {
    after(wait, [this, &stopped] {
        if (!stopped.running() && stopped._program && !stopped._exited) {
            restart(stopped);
        }
    });
}

}  // namespace weir::io::sim
