// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <sim/echo.hh>

#include <weir/core/coroutine.hh>
#include <weir/io/sim/replay.hh>

namespace sim = weir::io::sim;
using weir::test::echo_client;
using weir::test::echo_options;
using weir::test::echo_server;
using weir::test::echo_totals;
using namespace std::chrono_literals;

namespace {

// Two hosts of two shards each; the same functions run on real threads below.
void echo_scenario(sim::world& world) {
    auto& server = world.add_host("server", 2);
    auto& client = world.add_host("client", 2);
    echo_options options;
    options.server = server.at(7000);
    echo_totals served;
    echo_totals asked;
    server.start([&](weir::host& host) {
        return echo_server(host, options).then([&](echo_totals totals) { served = totals; });
    });
    client.start([&](weir::host& host) {
        return echo_client(host, options).then([&](echo_totals totals) { asked = totals; });
    });
    const bool ended = world.run_until([&] { return server.exited() && client.exited(); }, 600s);
    REQUIRE(ended);
    CHECK(server.failure() == "");
    CHECK(client.failure() == "");
    CHECK(served.connections == 6);
    CHECK(served.bytes == asked.bytes);
    CHECK(served.hops > 0);
    world.note(asked.bytes);
}

sim::world_options calm(std::uint64_t) {
    return {};
}

// What a stream may do to a correct program: late, in pieces, held back, never lost.
sim::world_options rough(std::uint64_t seed) {
    sim::world_options options;
    const auto swarm = sim::fault_plan::swarm(seed);
    for (const auto kind : {sim::fault::slow_segment, sim::fault::short_send, sim::fault::pause,
                            sim::fault::clog, sim::fault::wall_clock_step}) {
        options.faults[kind] = swarm[kind];
    }
    options.nemesis_period = 10ms;  // a run lasts a fifth of a second
    options.outage = {1ms, 50ms};
    return options;
}

}  // namespace

TEST_SUITE("sim/echo") {
    TEST_CASE("two hosts of two shards echo through rings and sockets, each run twice alike") {
        const auto result = sim::explore(1, 20, calm, echo_scenario, true);
        MESSAGE(result.report());
    }

    TEST_CASE("they echo while segments come late, sends are short and shards stall") {
        const auto result = sim::explore(100, 20, rough, echo_scenario, true);
        CHECK(result.faults.injected(sim::fault::short_send) > 0);
        CHECK(result.faults.injected(sim::fault::slow_segment) > 0);
        CHECK(result.faults.injected(sim::fault::clog) > 0);
        MESSAGE(result.report());
    }

    TEST_CASE("another seed is another run") {
        CHECK(sim::run_once(1, {}, echo_scenario) != sim::run_once(2, {}, echo_scenario));
    }
}
