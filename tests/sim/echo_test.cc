// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <thread>

#include <doctest/doctest.h>
#include <sim/echo.hh>
#include <sys/socket.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
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

// A port of the loopback that nobody listens on now.
sockaddr_storage free_port() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    socklen_t length = sizeof address;
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0);
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0);
    ::close(fd);
    sockaddr_storage result{};
    std::memcpy(&result, &address, sizeof address);
    return result;
}

weir::io::run_options two_threads(weir::log_sink& log) {
    weir::io::run_options options;
    options.placement.shards = 2;
    options.placement.allow_overcommit = true;
    options.pin = false;
    options.handle_signals = false;
    options.host.log = &log;
    return options;
}

}  // namespace

TEST_SUITE("sim/echo") {
    TEST_CASE("the same two functions echo on io_uring over the real loopback") {
        echo_options options;
        options.server = free_port();
        echo_totals served;
        echo_totals asked;
        weir::capturing_log_sink log;
        int server_status = -1;
        std::thread server([&] {
            server_status = weir::io::run(two_threads(log), [&](weir::host& host) {
                return echo_server(host, options).then([&](echo_totals all) { served = all; });
            });
        });
        const int client_status = weir::io::run(two_threads(log), [&](weir::host& host) {
            return echo_client(host, options).then([&](echo_totals all) { asked = all; });
        });
        server.join();
        for (const std::string& line : log.lines()) {
            CAPTURE(line);
            CHECK(line.find("level=error") == std::string::npos);
        }
        CHECK(client_status == 0);
        CHECK(server_status == 0);
        CHECK(served.connections == 6);
        CHECK(served.bytes == asked.bytes);
        CHECK(served.hops > 0);
    }

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
