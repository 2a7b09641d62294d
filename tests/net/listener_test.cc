// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <stdexcept>

#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/sim/memory.hh>
#include <weir/net/listener.hh>

namespace weir::net::test {

namespace sim = io::sim;
using namespace std::chrono_literals;

namespace {

/// What a receive came to: bytes, "end", or the name of a failure.
future<std::string> outcome_of(future<received> receiving) {
    co_await settled(receiving);
    try {
        const received some = receiving.take();
        co_return some.what() == received::status::end ? "end" : std::string(text_of(some.bytes()));
    } catch (const error& e) {
        co_return e.is_errno(ECONNABORTED) ? "aborted"
                                           : (e.is_errno(ECONNRESET) ? "reset" : e.what());
    }
}

future<bool> hears(connection& from, std::string_view text) {
    const auto bytes = co_await receive_exactly(from, text.size());
    co_return text_of(bytes) == text;
}

future<std::string> ask(address at, std::string_view text) {
    auto client = co_await connection::connect(at);
    co_await client->send(bytes_of(text));
    const auto answer = co_await receive_exactly(*client, text.size());
    co_await client->close();
    co_return std::string(text_of(answer));
}

/// Runs `body` alone in a host of few descriptors.
void with_descriptors(std::uint32_t count, const program& body) {
    const auto options = [count](std::uint64_t seed) {
        auto made = rough_world(seed);
        made.network.descriptors = count;
        return made;
    };
    sim::explore(1, 5, options, [&](sim::world& world) {
        auto& tested = world.add_host("tested", 1);
        tested.start(body);
        REQUIRE(world.run_until([&] { return tested.exited(); }, 60s));
        REQUIRE(tested.failure() == "");
    });
}

}  // namespace

TEST_SUITE("net/listener") {
    TEST_CASE("an accept that nobody takes any more loses no connection") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            {
                auto dropped = from->accept();
            }
            from->accept().ignore();
            auto first = from->accept();
            auto second = from->accept();
            auto one = co_await connection::connect(from->where());
            auto two = co_await connection::connect(from->where());
            auto taken = co_await std::move(first);
            co_await one->send(bytes_of("one"));
            CHECK(co_await hears(*taken, "one"));
            auto next = co_await std::move(second);
            co_await two->send(bytes_of("two"));
            CHECK(co_await hears(*next, "two"));
            co_await from->close();
        });
    }

    TEST_CASE("an accept gives up at its deadline or when it is told to, and is asked again") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            auto late = from->accept(this_shard().now() + 5ms);
            co_await settled(late);
            REQUIRE(late.failed());
            try {
                late.take();
            } catch (const error& e) {
                CHECK(e.is(errc::timed_out));
            }
            abort_source enough;
            auto given_up = from->accept(enough);
            enough.request();
            co_await settled(given_up);
            CHECK(given_up.failed());
            std::move(given_up).ignore();
            auto again = from->accept(this_shard().now() + 60s);
            auto client = co_await connection::connect(from->where());
            auto taken = co_await std::move(again);
            co_await client->send(bytes_of("here"));
            CHECK(co_await hears(*taken, "here"));
            co_await from->close();
        });
    }

    TEST_CASE("connections and listeners that nobody closed are closed in the background") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            // A late accept and a connect whose futures are gone.
            auto abandoned = with_deadline(this_shard().now() + 1ms, from->accept());
            co_await settled(abandoned);
            std::move(abandoned).ignore();
            connection::connect(from->where()).ignore();
            auto stray = co_await from->accept();  // who gave up took nothing
            CHECK(co_await outcome_of(stray->receive()) == "end");
            // One that an exception passes by, with a receive and a send under way.
            const std::vector<std::byte> much(64 << 20);
            auto accepting = from->accept();
            auto client = co_await connection::connect(from->where());
            auto peer = co_await std::move(accepting);
            future<received> receiving;
            future<> sending;
            try {
                const auto own = std::move(client);
                receiving = own->receive();
                sending = own->send(much);
                co_await sleep_for(1ms);
                throw std::runtime_error("on the way to close()");
            } catch (const std::runtime_error&) {  // NOLINT(bugprone-empty-catch): meant
            }
            CHECK(co_await outcome_of(std::move(receiving)) == "aborted");
            co_await settled(sending);
            CHECK(sending.failed());
            std::move(sending).ignore();
            std::string end;
            do {
                end = co_await outcome_of(peer->receive());
            } while (end != "reset" && end != "end");
            CHECK(end == "reset");
            // One that only waited ends cleanly, and so does all that a listener leaves.
            auto waiting = from->accept();
            auto idle = co_await connection::connect(from->where());
            auto last = co_await std::move(waiting);
            idle->receive().ignore();
            idle.reset();
            CHECK(co_await outcome_of(last->receive()) == "end");
            auto never_taken = co_await connection::connect(from->where());
            from.reset();
            end = co_await outcome_of(never_taken->receive());
            CHECK((end == "end" || end == "reset"));
        });
    }

    TEST_CASE("a receive that nobody takes any more leaves what comes to the next") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            auto client = co_await connection::connect(from->where());
            auto peer = co_await from->accept();
            {
                auto dropped = peer->receive(this_shard().now() + 60s);
            }
            co_await client->send(bytes_of("kept"));
            co_await sleep_for(5ms);
            CHECK(co_await hears(*peer, "kept"));
            co_await from->close();
        });
    }

    TEST_CASE("a close that nobody waits for is one all the same") {
        on_both([](host&) -> future<> {
            auto from = co_await listener::listen(address::loopback(0));
            auto client = co_await connection::connect(from->where());
            auto peer = co_await from->accept();
            peer->receive().ignore();
            peer->close().ignore();
            peer.reset();
            CHECK(co_await outcome_of(client->receive()) == "end");
            from->close().ignore();
            from.reset();
            co_await sleep_for(5ms);
        });
    }

    TEST_CASE("five hundred waiting connections are accepted in a few turns") {
        // Not in a rough world: a paused shard takes none.
        sim::explore(
            1, 5,
            [](std::uint64_t) {
                sim::world_options options;
                options.network.descriptors = 4096;
                options.backend.operations = 8192;
                return options;
            },
            [](sim::world& world) {
                auto& tested = world.add_host("tested", 1);
                std::uint64_t turns = 0;
                tested.start([&turns](host&) -> future<> {
                    constexpr std::size_t count = 500;
                    listener_options options;
                    options.accept_ahead = 100;
                    auto from = co_await listener::listen(address::loopback(0), options);
                    std::vector<std::unique_ptr<connection>> clients, servers;
                    for (std::size_t i = 0; i < count; ++i) {
                        clients.push_back(co_await connection::connect(from->where()));
                    }
                    co_await sleep_for(100ms);
                    CHECK(from->counters().accepts_held == 1);
                    const std::uint64_t before = this_shard().counters().turns;
                    while (servers.size() < count) {
                        servers.push_back(co_await from->accept());
                        CHECK(servers.back()->peer().port() != 0);
                    }
                    turns = this_shard().counters().turns - before;
                    co_await from->close();
                });
                REQUIRE(world.run_until([&] { return tested.exited(); }, 60s));
                CHECK(turns < 100);
            });
    }

    TEST_CASE("want of descriptors passes: a listener goes on when some come back") {
        with_descriptors(20, [](host&) -> future<> {
            auto tested = co_await server::start(address::loopback(0), {}, echo);
            std::vector<std::unique_ptr<connection>> hoard;
            bool full = false;
            while (!full) {
                auto more = connection::connect(tested->where());
                co_await settled(more);
                full = more.failed();
                if (full) {
                    std::move(more).ignore();
                } else {
                    hoard.push_back(more.take());
                }
            }
            co_await sleep_for(200ms);
            for (auto& each : hoard) {
                co_await each->close();
            }
            CHECK(co_await ask(tested->where(), "again") == "again");
            co_await tested->stop();
        });
    }

    TEST_CASE("want of memory passes: wherever it strikes, the server takes the next connection") {
        if (!sim::memory::tagged()) {
            return;
        }
        on_simulator(
            [](host&) -> future<> {
                auto tested = co_await server::start(address::loopback(0), {}, echo);
                for (std::uint64_t first = 0; first < 60; ++first) {
                    auto client = co_await connection::connect(tested->where());
                    auto rest = sleep_for(20ms);
                    sim::memory::fail(first, 3);
                    co_await std::move(rest);
                    sim::memory::stop_failing();
                    client.reset();
                    CHECK(co_await ask(tested->where(), "well?") == "well?");
                }
                co_await tested->stop();
            },
            1, 3);
    }
}

}  // namespace weir::net::test
