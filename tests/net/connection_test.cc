// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <new>

#include <doctest/doctest.h>
#include <net/both.hh>
#include <tests/support/child.hh>

#include <weir/core/call.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/run.hh>
#include <weir/io/sim/memory.hh>
#include <weir/net/listener.hh>

namespace weir::net::test {

namespace sim = io::sim;
using namespace std::chrono_literals;

namespace {

/// Two ends of a connection, and totals of the accepted one.
struct ends {
    connection_totals totals;
    std::unique_ptr<listener> from;
    std::unique_ptr<connection> client;
    std::unique_ptr<connection> server;

    future<> open(connection_options accepted = {}, connection_options connected = {}) {
        from = co_await listener::listen(address::loopback(0), accepted, &totals);
        auto connecting = connection::connect(from->where(), connected);
        server = co_await from->accept();
        client = co_await std::move(connecting);
    }
    future<> close() {
        co_await client->close();
        co_await server->close();
        co_await from->close();
    }
};

future<bool> fails_with(future<received> receiving, int errno_value) {
    co_await settled(receiving);
    try {
        receiving.take();
    } catch (const error& e) {
        co_return e.is_errno(errno_value);
    }
    co_return false;
}

// Runs `body` with a connected pair, which it leaves open.
template <typename Body>
program with_ends(Body body) {
    return [body](host&) -> future<> {
        ends pair;
        co_await pair.open();
        co_await body(pair);
        co_await pair.close();
    };
}

}  // namespace

TEST_SUITE("net/connection") {
    TEST_CASE("three megabytes come back as they went, and then the end") {
        on_both([](host&) -> future<> {
            ends pair;
            co_await pair.open();
            const auto data = pattern(3'000'000);
            auto echoing = echo(*pair.server);
            auto sending = pair.client->send(data);
            const auto back = co_await receive_exactly(*pair.client, data.size());
            co_await std::move(sending);
            CHECK((back == data));
            CHECK(pair.client->bytes_sent() == data.size());
            CHECK(pair.totals.bytes_received == data.size());
            CHECK(pair.totals.bytes_sent == data.size());
            co_await pair.client->shutdown_send();
            co_await std::move(echoing);
            co_await pair.close();
        });
    }

    TEST_CASE("a vector of parts, empty ones among them, is one stream") {
        on_both(with_ends([](ends& pair) -> future<> {
            const auto data = pattern(1'500'000);
            std::vector<iovec> parts;
            for (std::size_t at = 0, step = 0; at < data.size(); at += step) {
                step = std::min<std::size_t>(data.size() - at, parts.size() * 7 % 1200);
                parts.push_back({const_cast<std::byte*>(data.data() + at), step});
            }
            auto sending = pair.client->send(parts);
            const auto there = co_await receive_exactly(*pair.server, data.size());
            co_await std::move(sending);
            CHECK((there == data));
            co_await pair.client->send(std::span<const iovec>());
        }));
    }

    TEST_CASE("after a half close the other half still carries data") {
        on_both(with_ends([](ends& pair) -> future<> {
            co_await pair.client->send(bytes_of("question"));
            co_await pair.client->shutdown_send();
            CHECK(co_await receive_to_end(*pair.server) == "question");
            co_await pair.server->send(bytes_of("answer"));
            co_await pair.server->shutdown_send();
            CHECK(co_await receive_to_end(*pair.client) == "answer");
            CHECK((co_await pair.client->receive()).what() == received::status::end);
        }));
    }

    TEST_CASE("a receive gives up at its deadline and loses nothing of what comes later") {
        on_both(with_ends([](ends& pair) -> future<> {
            const instant due = this_shard().now() + 5ms;
            const received late = co_await pair.server->receive(due);
            CHECK(late.what() == received::status::timed_out);
            CHECK(this_shard().now() >= due);
            co_await pair.client->send(bytes_of("late"));
            // An earlier deadline than the last, a later one, and none: the timer is shared.
            received some = co_await pair.server->receive(this_shard().now() + 60s);
            CHECK(text_of(some.bytes()).size() > 0);
            CHECK((co_await pair.server->receive(this_shard().now() + 200ms)).what() !=
                  received::status::end);
        }));
    }

    TEST_CASE("whichever allocation of a connect fails, the kernel is left with nothing of it") {
        on_simulator([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            const address nobody = from->where();
            co_await from->close();
            std::vector<future<>> sleeping;  // one more timer each time: its place is new memory
            sleeping.reserve(40);
            for (int i = 0; i < 40; ++i) {
                bool met = true;
                for (std::uint64_t first = 0; met; ++first) {
                    sim::memory::fail(first, 1);
                    try {
                        co_await connection::connect(nobody, {}, this_shard().now() + 60s);
                    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): may be
                    } catch (const error&) {           // NOLINT(bugprone-empty-catch): refused
                    }
                    met = sim::memory::stop_failing() > 0;
                    co_await sleep_for(1s);
                }
                sleeping.push_back(sleep_for(24h));
            }
        });
    }

    TEST_CASE("a send that found no memory has not begun, and the next one may") {
        on_simulator([](host&) -> future<> {
            ends pair;
            connection_options forgetful;
            forgetful.send_time_max = 10ms;
            co_await pair.open({}, forgetful);
            std::vector<future<>> sleeping;  // as above
            sleeping.reserve(40);
            std::uint64_t sent = 0;
            for (int i = 0; i < 40; ++i) {
                bool met = true;
                for (std::uint64_t first = 0; met; ++first) {
                    co_await sleep_for(1s);  // its timer has gone
                    sim::memory::fail(first, 1);
                    try {
                        co_await pair.client->send(bytes_of("x"));
                        ++sent;
                    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): may be
                    }
                    met = sim::memory::stop_failing() > 0;
                }
                sleeping.push_back(sleep_for(24h));
            }
            co_await pair.client->shutdown_send();
            CHECK((co_await receive_to_end(*pair.server)).size() == sent);
            co_await pair.close();
        });
    }

    TEST_CASE("a send to a peer that does not read fails after send_time_max") {
        for (const std::size_t zero_copy_bytes : {std::size_t{1}, SIZE_MAX}) {
            on_both([zero_copy_bytes](host&) -> future<> {
                ends pair;
                connection_options impatient;
                impatient.send_time_max = 100ms;
                impatient.zero_copy_bytes = zero_copy_bytes;
                co_await pair.open(impatient);
                const std::vector<std::byte> much(64 << 20);
                std::string cause;
                try {
                    co_await pair.server->send(much);
                } catch (const error& e) {
                    cause = e.is(errc::timed_out) ? "timed out" : e.what();
                }
                CHECK(cause == "timed out");
                CHECK(pair.totals.sends_too_slow == 1);
                CHECK(co_await fails_with(pair.server->receive(), ETIMEDOUT));
                co_await pair.close();
            });
        }
    }

    TEST_CASE("close ends a send and a receive that are under way") {
        on_both([](host&) -> future<> {
            ends pair;
            co_await pair.open();
            const std::vector<std::byte> much(64 << 20);
            auto sending = pair.server->send(much);
            auto receiving = pair.server->receive();
            co_await pair.server->close();
            CHECK((co_await std::move(receiving)).what() == received::status::end);
            co_await settled(sending);
            CHECK(sending.failed());
            std::move(sending).ignore();
            co_await pair.client->close();
            co_await pair.from->close();
        });
    }

    TEST_CASE("an abort fails a receive here, for it is no end, and resets the peer") {
        on_both(with_ends([](ends& pair) -> future<> {
            auto receiving = pair.server->receive();
            co_await pair.client->send(bytes_of("x"));
            co_await settled(receiving);
            co_await std::move(receiving);
            auto again = pair.server->receive();
            pair.server->abort();
            pair.server->abort();
            CHECK(co_await fails_with(std::move(again), ECONNABORTED));
            CHECK(co_await fails_with(pair.server->receive(), ECONNABORTED));
            auto sending = pair.server->send(bytes_of("more"));
            co_await settled(sending);
            CHECK(sending.failed());
            std::move(sending).ignore();
            auto there = pair.client->receive();
            co_await settled(there);
            CHECK(there.failed());
            std::move(there).ignore();
        }));
    }

    TEST_CASE("what is not taken is held back, by bytes and by buffers") {
        on_both([](host&) -> future<> {
            ends pair;
            connection_options narrow;
            narrow.receive_ahead_loans = 2;
            co_await pair.open(narrow);
            auto first = pair.server->receive();
            const auto data = pattern(400'000);
            auto sending = pair.client->send(data);
            std::vector<std::byte> all;
            // Each receive is followed by a rest in which more comes than may be held.
            while (all.size() < data.size()) {
                const received some =
                    co_await (first.valid() ? std::move(first) : pair.server->receive());
                all.insert(all.end(), some.bytes().begin(), some.bytes().end());
                co_await sleep_for(1ms);
            }
            co_await std::move(sending);
            CHECK((all == data));
            CHECK(pair.totals.receives_held > 0);
            co_await pair.close();
        });
    }

    TEST_CASE("when others hold every buffer, a connection receives into its own memory") {
        on_both([](host&) -> future<> {
            // More than the simulator and the kernel's ring here have to lend.
            constexpr std::size_t hoarders = 40;
            connection_options greedy;
            greedy.receive_ahead_loans = 1000;
            auto from = co_await listener::listen(address::loopback(0), greedy);
            std::vector<std::unique_ptr<connection>> open;
            std::vector<received> hoard;
            for (std::size_t i = 0; i < hoarders; ++i) {
                auto connecting = connection::connect(from->where());
                auto server = co_await from->accept();
                auto client = co_await std::move(connecting);
                for (int rounds = 0; rounds < 10; ++rounds) {
                    co_await client->send(bytes_of("x"));
                    hoard.push_back(co_await server->receive());
                }
                open.push_back(std::move(client));
                open.push_back(std::move(server));
            }
            const auto data = pattern(300'000);
            auto sending = open[0]->send(data);
            const auto there = co_await receive_exactly(*open[1], data.size());
            co_await std::move(sending);
            CHECK((there == data));
            hoard.clear();
            auto again = open[2]->send(data);
            CHECK(((co_await receive_exactly(*open[3], data.size())) == data));
            co_await std::move(again);
            for (auto& each : open) {
                co_await each->close();
            }
            co_await from->close();
        });
    }

    TEST_CASE("a connect to nobody fails with its errno and names the address") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            const address nobody = from->where();
            co_await from->close();
            auto attempt = connection::connect(nobody);
            co_await settled(attempt);
            REQUIRE(attempt.failed());
            try {
                attempt.take();
            } catch (const error& e) {
                CHECK(e.is_errno(ECONNREFUSED));
                CHECK(e.subject() == nobody.to_string());
            }
        });
    }

    TEST_CASE("a connect through a partition ends at its deadline") {
        sim::explore(
            1, 10, [](std::uint64_t) { return sim::world_options{}; },
            [](sim::world& world) {
                auto& client = world.add_host("client", 1);
                auto& server = world.add_host("server", 1);
                world.partition(client, server);
                bool timed_out = false;
                const address there = address::from(server.at(7000));
                client.start([&](host&) -> future<> {
                    const instant due = this_shard().now() + 100ms;
                    try {
                        auto made = co_await connection::connect(there, {}, due);
                        co_await made->close();
                    } catch (const error& e) {
                        timed_out = e.is(errc::timed_out);
                    }
                    CHECK(this_shard().now() < due + 1s);
                });
                const bool ended = world.run_until([&] { return client.exited(); }, 60s);
                CHECK(ended);
                CHECK(timed_out);
            });
    }

    TEST_CASE("a peer whose machine dies is noticed by a deadline or a failure, never a hang") {
        sim::explore(1, 20, rough_world, [](sim::world& world) {
            auto& client = world.add_host("client", 1);
            auto& server = world.add_host("server", 1);
            const address there = address::from(server.at(7000));
            server.start([&](host&) -> future<> {
                auto from = co_await listener::listen(there);
                auto peer = co_await from->accept();
                co_await echo(*peer);
            });
            bool noticed = false;
            client.start([&](host&) -> future<> {
                co_await sleep_for(20ms);
                std::unique_ptr<connection> made;
                try {
                    made = co_await connection::connect(there);
                    for (;;) {
                        co_await made->send(bytes_of("ping"));
                        const received some = co_await made->receive(this_shard().now() + 1s);
                        if (some.what() != received::status::data) {
                            break;
                        }
                    }
                } catch (const error&) {
                    noticed = true;
                }
                noticed = true;
                if (made) {
                    co_await made->close();
                }
            });
            world.run_for(100ms);
            world.power_cut(server);
            const bool ended = world.run_until([&] { return client.exited(); }, 60s);
            CHECK(ended);
            CHECK(noticed);
        });
    }

    TEST_CASE("a connection that is used on another shard names both, and its peer") {
        const auto end = weir::test::in_child([] {
            io::run_options options;
            options.placement.shards = 2;
            options.placement.allow_overcommit = true;
            return io::run(options, with_ends([](ends& pair) {
                               return on(1, [&pair] { return pair.client->close(); });
                           }));
        });
        CHECK(end.says("shard 1: the connection with 127.0.0.1:"));
        CHECK(end.says(" of shard 0 was used here"));
    }
}

TEST_SUITE("net/listener") {
    TEST_CASE("two hundred connections that nobody accepts yet are all there afterwards") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            std::vector<std::unique_ptr<connection>> clients;
            for (int i = 0; i < 200; ++i) {
                clients.push_back(co_await connection::connect(from->where()));
            }
            std::vector<std::unique_ptr<connection>> servers;
            for (int i = 0; i < 200; ++i) {
                servers.push_back(co_await from->accept());
            }
            for (auto* side : {&clients, &servers}) {
                for (auto& each : *side) {
                    co_await each->close();
                }
            }
            co_await from->close();
        });
    }

    TEST_CASE("close ends an accept, and what was not taken is closed") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            auto waiting = from->accept();
            auto client = co_await connection::connect(from->where());
            auto server = co_await std::move(waiting);
            auto left = co_await connection::connect(from->where());
            auto forever = from->accept();
            co_await sleep_for(10ms);
            co_await from->close();
            auto last = co_await std::move(forever);
            if (last) {
                co_await last->close();
            }
            auto there = left->receive();
            co_await settled(there);
            CHECK((there.failed() || there.take().what() == received::status::end));
            if (there.valid()) {
                std::move(there).ignore();
            }
            CHECK(co_await from->accept() == nullptr);
            co_await left->close();
            co_await client->close();
            co_await server->close();
        });
    }
}

}  // namespace weir::net::test
