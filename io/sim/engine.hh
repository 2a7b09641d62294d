// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <weir/io/sim/agenda.hh>
#include <weir/io/sim/faults.hh>
#include <weir/io/sim/options.hh>
#include <weir/io/sim/random.hh>
#include <weir/io/sim/trace.hh>

namespace weir::io::sim {

/// What all parts of one world share: the options, the trace, time to come, and for each part a
/// stream of random numbers of its own.
struct engine {
    engine(std::uint64_t seed, const world_options& given)
        : options(given),
          events(stream(seed, 1)),
          schedule(stream(seed, 2)),
          traffic(stream(seed, 3)),
          storage(stream(seed, 4)),
          clocks(stream(seed, 5)),
          workload(stream(seed, 6)),
          seeds(stream(seed, 7)),
          faults(given.faults, stream(seed, 8)) {}
    engine(const engine&) = delete;
    engine& operator=(const engine&) = delete;

    random_stream stream(std::uint64_t seed, std::uint64_t number) noexcept {
        return {seed, number, &log};
    }
    instant now() const noexcept { return events.now(); }

    world_options options;
    trace log;
    agenda events;
    random_stream schedule;  ///< turns, slices, wake-ups
    random_stream traffic;   ///< the network
    random_stream storage;   ///< the disks
    random_stream clocks;
    random_stream workload;  ///< for the test itself
    random_stream seeds;     ///< seeds the streams of shards
    fault_injector faults;
};

/// A host's view of time: monotonic with an offset and a drift, and a wall clock that may jump.
class host_clock {
  public:
    explicit host_clock(engine& shared)
        : _offset(shared.clocks.between(duration(0), shared.options.schedule.clock_offset)) {
        const std::uint64_t drift = shared.options.schedule.clock_drift_parts_per_million;
        _drift = static_cast<std::int64_t>(shared.clocks.below(2 * drift + 1)) -
                 static_cast<std::int64_t>(drift);
        _wall_ms = shared.options.wall_start;
    }

    instant local(instant world) const noexcept {
        const std::int64_t t = world.time_since_epoch().count();
        return instant(_offset + duration(t + scale(t)));
    }
    /// The first moment at which the host's clock shows `local` or later.
    instant world(instant local) const noexcept {
        if (local == never) {
            return never;
        }
        const std::int64_t t = (local.time_since_epoch() - _offset).count();
        instant guess{duration(t - scale(t))};
        while (this->local(guess) < local) {
            guess += duration(1 + (local - this->local(guess)).count() / 2);
        }
        return guess;
    }
    wall_clock_ms wall(instant world) const noexcept {
        return _wall_ms +
               std::chrono::duration_cast<milliseconds>(local(world).time_since_epoch() - _offset)
                   .count();
    }
    void step_wall(std::int64_t by_ms) noexcept { _wall_ms += by_ms; }

  private:
    // Fits for years: 50 parts per million of 1e17 ns are 5e18.
    std::int64_t scale(std::int64_t t) const noexcept { return t * _drift / 1'000'000; }
    duration _offset;
    std::int64_t _drift = 0;  // parts per million
    wall_clock_ms _wall_ms = 0;
};

}  // namespace weir::io::sim
