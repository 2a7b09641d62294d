// SPDX-License-Identifier: Apache-2.0
#include <tests/support/both.hh>

#include <string>
#include <vector>

#include <doctest/doctest.h>

#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
#include <weir/io/sim/memory.hh>

namespace weir::test {

namespace sim = io::sim;
using namespace std::chrono_literals;

namespace {

/// Keeps lines, which a simulated host must not do in its own memory.
class outside_log_sink final : public log_sink {
  public:
    void write(const log_line& line) noexcept override {
        const sim::memory::outside guard;
        _kept.write(line);
    }
    std::vector<std::string> lines() const { return _kept.lines(); }

  private:
    capturing_log_sink _kept;
};

program checked(const program& body) {
    return [&body](host& own) -> future<> {
        co_await body(own);
        CHECK(this_shard().counters().failures_ignored == 0);
    };
}

}  // namespace

sim::world_options rough_world(std::uint64_t seed) {
    sim::world_options options;
    const auto swarm = sim::fault_plan::swarm(seed);
    for (const auto kind :
         {sim::fault::slow_segment, sim::fault::short_send, sim::fault::pause, sim::fault::clog,
          sim::fault::wall_clock_step, sim::fault::interrupted, sim::fault::short_multishot}) {
        options.faults[kind] = swarm[kind];
    }
    options.nemesis_period = 10ms;
    options.outage = {1ms, 50ms};
    options.network.descriptors = 4096;
    options.backend.operations = 8192;  // idle connections wait in receives
    return options;
}

void on_simulator(const program& body, unsigned shards, std::uint64_t seeds) {
    sim::explore(1, seeds, rough_world, [&](sim::world& world) {
        outside_log_sink log;
        host_options options;
        options.name = "tested";
        options.shards = shards;
        options.log = &log;
        sim::sim_host& tested = world.add_host(options);
        const program whole = checked(body);
        tested.start(whole);
        const bool ended = world.run_until([&] { return tested.exited(); }, 600s);
        for (const std::string& line : log.lines()) {
            INFO(line);
            CHECK(line.find("failure ignored") == std::string::npos);
        }
        REQUIRE(ended);
        REQUIRE(tested.failure() == "");
    });
}

void on_kernel(const program& body, unsigned shards) {
    capturing_log_sink log;
    io::run_options options;
    options.placement.shards = shards;
    options.placement.allow_overcommit = true;
    options.pin = false;
    options.handle_signals = false;
    options.host.log = &log;
    const int status = io::run(options, checked(body));
    if (status != 0) {
        for (const std::string& line : log.lines()) {
            MESSAGE(line);
        }
    }
    CHECK(status == 0);
}

void on_both(const program& body, unsigned shards) {
    {
        INFO("on the simulator");
        on_simulator(body, shards);
    }
    INFO("on the kernel");
    on_kernel(body, shards);
}

}  // namespace weir::test
