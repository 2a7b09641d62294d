// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include <doctest/doctest.h>
#include <io/sim_bench.hh>

namespace sim = weir::io::sim;
namespace op = weir::io::op;
using sim::fault;
using weir::test::sim_bench;
using namespace std::chrono_literals;

namespace {

/// Two hosts and a connection between them.
struct pair_bench : sim_bench {
    explicit pair_bench(std::uint64_t seed, sim::world_options options = {})
        : sim_bench(seed, std::move(options)),
          client(add("client")),
          server(add("server")),
          fds(connected(client, server)) {}
    sim::sim_host& client_host() { return *world.hosts()[0]; }
    sim::sim_host& server_host() { return *world.hosts()[1]; }

    sim::machine& client;
    sim::machine& server;
    pair fds;
};

}  // namespace

TEST_SUITE("io/sim/network") {
    TEST_CASE("a connect is refused without a listener, and times out without an answer") {
        sim_bench tested(1);
        auto& a = tested.add("a");
        auto& b = tested.add("b");
        CHECK(tested.connect(a, b, 80) == -ECONNREFUSED);
        REQUIRE(tested.listen(b, 80) >= 0);
        auto& hosts = tested.world.hosts();
        tested.world.partition(*hosts[0], *hosts[1]);
        CHECK(tested.connect(a, b, 80) == -ETIMEDOUT);
        tested.world.heal();
        CHECK(tested.connect(a, b, 80) >= 0);
        tested.world.partition_one_way(*hosts[1], *hosts[0]);
        CHECK(tested.connect(a, b, 80) == -ETIMEDOUT);
        tested.world.heal();
        tested.world.power_cut(*hosts[1]);
        CHECK(tested.connect(a, b, 80) == -ETIMEDOUT);
        sockaddr_storage nobody = b.at(80);
        reinterpret_cast<sockaddr_in&>(nobody).sin_addr.s_addr = htonl(0x0a0000ff);
        CHECK(tested.run(a, op::connect{&nobody, sizeof(sockaddr_in)}) == -EHOSTUNREACH);
    }

    TEST_CASE("a port that another program has taken is in use") {
        sim_bench tested(1);
        auto& a = tested.add("a");
        tested.world.net().occupy(a, 80);
        CHECK(tested.listen(a, 80) == -EADDRINUSE);
        CHECK(tested.listen(a, 81) >= 0);
        CHECK(tested.listen(a, 81) >= 0);  // SO_REUSEPORT
    }

    TEST_CASE("connections spread over the listeners of a port") {
        sim_bench tested(1);
        auto& a = tested.add("a");
        auto& b = tested.add("b");
        auto& first = tested.start(b, op::accept{tested.listen(b, 80)});
        auto& second = tested.start(b, op::accept{tested.listen(b, 80)});
        for (int i = 0; i < 20; ++i) {
            REQUIRE(tested.connect(a, b, 80) >= 0);
        }
        tested.pass(100ms);
        CHECK(first.outcomes.size() + second.outcomes.size() == 20);
        CHECK(first.outcomes.size() > 2);
        CHECK(second.outcomes.size() > 2);
    }

    TEST_CASE("a host has only so many descriptors") {
        sim::world_options options;
        options.network.descriptors = 5;
        sim_bench tested(1, options);
        auto& a = tested.add("a");
        for (int i = 0; i < 5; ++i) {
            tested.open(a, "/f");
        }
        CHECK(tested.run(a, op::open{.path = "/f"}) == -EMFILE);
        CHECK(tested.run(a, op::close{3}) == 0);
        CHECK(tested.run(a, op::open{.path = "/f"}) == 3);
    }

    TEST_CASE("a sender waits once the window is full and goes on as the peer reads") {
        sim::world_options options;
        options.network.window = 10'000;
        pair_bench tested(1, options);
        CHECK(tested.send(tested.client, tested.fds.client, std::string(30'000, 'x')) == 10'000);
        std::string more(5000, 'y');
        const iovec part{more.data(), more.size()};
        auto& waiting = tested.start(tested.client, op::send{tested.fds.client, &part, 1});
        tested.pass(1s);
        CHECK(!waiting.done);
        char bytes[3000];
        CHECK(tested.run(tested.server, op::receive_into{tested.fds.server, bytes, sizeof bytes}) >
              0);
        tested.pass(1s);
        CHECK(waiting.done);
        CHECK(waiting.result() > 0);
    }

    TEST_CASE("received data waits when no buffer is left to lend") {
        sim::world_options options;
        options.backend.buffers = 2;
        options.backend.buffer_size = 100;
        pair_bench tested(1, options);
        auto& receiving = tested.start(tested.server, op::receive{tested.fds.server});
        CHECK(tested.send(tested.client, tested.fds.client, std::string(1000, 'x')) == 1000);
        tested.pass(1s);
        REQUIRE(receiving.done);
        CHECK(receiving.outcomes.size() == 3);
        CHECK(receiving.result() == -ENOBUFS);
        std::size_t received = 0;
        for (const auto& each : receiving.outcomes) {
            if (each.result > 0) {
                received += static_cast<std::size_t>(each.result);
                tested.server.backend(0).release(each.buffer);
            }
        }
        while (received < 1000) {
            char bytes[1000];
            const auto count =
                tested.run(tested.server, op::receive_into{tested.fds.server, bytes, sizeof bytes});
            REQUIRE(count > 0);
            received += static_cast<std::size_t>(count);
        }
        CHECK(received == 1000);
    }

    TEST_CASE("a short partition only delays, a long one ends the connection of who sends") {
        for (const bool long_one : {false, true}) {
            pair_bench tested(1);
            auto& receiving = tested.start(tested.server, op::receive{tested.fds.server});
            tested.world.partition(tested.client_host(), tested.server_host());
            CHECK(tested.send(tested.client, tested.fds.client, "hello") == 5);
            tested.pass(long_one ? 60s : 5s);
            CHECK(receiving.outcomes.empty());
            tested.world.heal();
            tested.pass(20s);
            if (long_one) {
                CHECK(tested.send(tested.client, tested.fds.client, "again") == -ETIMEDOUT);
                CHECK(tested.send(tested.client, tested.fds.client, "again") == -EPIPE);
                CHECK(receiving.outcomes.empty());  // half open: it never learns
            } else {
                std::size_t received = 0;
                for (const auto& each : receiving.outcomes) {
                    received += static_cast<std::size_t>(each.result);
                }
                CHECK(received == 5);
            }
        }
    }

    TEST_CASE("when acknowledgements get lost the sender gives up, though its data arrived") {
        pair_bench tested(1);
        auto& receiving = tested.start(tested.server, op::receive{tested.fds.server});
        tested.world.partition_one_way(tested.server_host(), tested.client_host());
        CHECK(tested.send(tested.client, tested.fds.client, "x") == 1);
        tested.pass(60s);
        CHECK(receiving.outcomes.size() == 1);
        CHECK(tested.send(tested.client, tested.fds.client, "y") == -ETIMEDOUT);
    }

    TEST_CASE("a killed process's peer reads an end or a reset") {
        for (const bool unread : {false, true}) {
            pair_bench tested(1);
            auto& receiving = tested.start(tested.client, op::receive{tested.fds.client});
            if (unread) {
                CHECK(tested.send(tested.client, tested.fds.client, "unread") == 6);
                tested.pass(1s);
            }
            tested.world.kill(tested.server_host());
            tested.pass(1s);
            REQUIRE(receiving.done);
            CHECK(receiving.result() == (unread ? -ECONNRESET : 0));
        }
    }

    TEST_CASE("a power cut is silent; what is sent after the restart is answered by a reset") {
        pair_bench tested(1);
        auto& receiving = tested.start(tested.client, op::receive{tested.fds.client});
        tested.world.power_cut(tested.server_host());
        tested.pass(30s);
        CHECK(!receiving.done);
        tested.server.boot(1);
        tested.pass(30s);
        CHECK(!receiving.done);
        CHECK(tested.send(tested.client, tested.fds.client, "hello?") == 6);
        tested.pass(1s);
        REQUIRE(receiving.done);
        CHECK(receiving.result() == -ECONNRESET);
    }

    TEST_CASE("a lost connection is reset at both ends") {
        sim::world_options options;
        options.faults[fault::connection_loss] = 1'000'000;
        pair_bench tested(1, options);
        auto& one = tested.start(tested.client, op::receive{tested.fds.client});
        auto& other = tested.start(tested.server, op::receive{tested.fds.server});
        CHECK(tested.send(tested.client, tested.fds.client, "hello") == 5);
        tested.pass(1s);
        REQUIRE(one.done);
        REQUIRE(other.done);
        CHECK(one.result() == -ECONNRESET);
        CHECK(other.result() == -ECONNRESET);
        CHECK(tested.world.faults().injected(fault::connection_loss) == 1);
    }

    TEST_CASE("a clog holds back one direction for its time") {
        pair_bench tested(1);
        auto& there = tested.start(tested.server, op::receive{tested.fds.server});
        auto& back = tested.start(tested.client, op::receive{tested.fds.client});
        tested.world.clog(tested.client_host(), tested.server_host(), 3s);
        CHECK(tested.send(tested.client, tested.fds.client, "x") == 1);
        CHECK(tested.send(tested.server, tested.fds.server, "y") == 1);
        tested.pass(2s);
        CHECK(there.outcomes.empty());
        CHECK(back.outcomes.size() == 1);
        tested.pass(2s);
        CHECK(there.outcomes.size() == 1);
    }

    TEST_CASE("closing with unread data resets the peer, an armed receive keeps the socket") {
        pair_bench tested(1);
        auto& receiving = tested.start(tested.client, op::receive{tested.fds.client});
        CHECK(tested.run(tested.client, op::close{tested.fds.client}) == 0);
        tested.pass(1s);
        CHECK(!receiving.done);  // as io_uring: the operation still holds it
        CHECK(tested.send(tested.server, tested.fds.server, "x") == 1);
        tested.pass(1s);
        CHECK(receiving.outcomes.size() == 1);
        tested.client.backend(0).cancel(receiving);
        tested.pass(1s);
        CHECK(receiving.result() == -ECANCELED);
        char byte;
        CHECK(tested.run(tested.server, op::receive_into{tested.fds.server, &byte, 1}) == 0);
        CHECK(tested.send(tested.server, tested.fds.server, "x") == 1);
        tested.pass(1s);
        CHECK(tested.send(tested.server, tested.fds.server, "x") == -ECONNRESET);
    }
}
