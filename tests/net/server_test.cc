// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include <doctest/doctest.h>
#include <malloc.h>
#include <net/both.hh>
#include <sys/resource.h>

#include <weir/core/call.hh>
#include <weir/core/metrics.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>

namespace weir::net::test {

using namespace std::chrono_literals;

namespace {

/// Asks until the server has as many connections.
future<> until_open(server& of, std::size_t count) {
    while (of.open_connections() != count) {
        co_await sleep_for(1ms);
    }
}

/// Whether the peer ended or reset it without sending anything.
future<bool> is_refused(connection& from) {
    auto first = from.receive();
    co_await settled(first);
    if (first.failed()) {
        std::move(first).ignore();
        co_return true;
    }
    co_return first.take().what() == received::status::end;
}

future<std::string> ask(connection& of, std::string_view text) {
    co_await of.send(bytes_of(text));
    const auto answer = co_await receive_exactly(of, text.size());
    co_return std::string(text_of(answer));
}

}  // namespace

TEST_SUITE("net/server") {
    TEST_CASE("above its limit a server refuses, and serves again when one has gone") {
        on_both([](host&) -> future<> {
            server_options options;
            options.connections_max = 2;
            auto tested = co_await server::start(address::loopback(0), options, echo);
            auto first = co_await connection::connect(tested->where());
            auto second = co_await connection::connect(tested->where());
            CHECK(co_await ask(*first, "one") == "one");
            CHECK(co_await ask(*second, "two") == "two");
            auto third = co_await connection::connect(tested->where());
            CHECK(co_await is_refused(*third));
            CHECK(tested->counters().refused == 1);
            co_await first->close();
            co_await until_open(*tested, 1);
            auto fourth = co_await connection::connect(tested->where());
            CHECK(co_await ask(*fourth, "four") == "four");
            co_await second->close();
            co_await third->close();
            co_await fourth->close();
            co_await tested->stop();
            CHECK(tested->counters().accepted == 3);
        });
    }

    TEST_CASE("a stop ends idle connections and waits for what is under way") {
        on_both([](host&) -> future<> {
            promise<> begun, go_on;
            auto tested = co_await server::start(address::loopback(0), {},
                                                 [&begun, &go_on](connection& peer) -> future<> {
                                                     const received asked = co_await peer.receive();
                                                     if (asked.what() == received::status::data) {
                                                         begun.set_value();
                                                         co_await go_on.get_future();
                                                         co_await peer.send(bytes_of("done"));
                                                     }
                                                 });
            future<> at_work = begun.get_future();
            auto idle = co_await connection::connect(tested->where());
            auto busy = co_await connection::connect(tested->where());
            co_await busy->send(bytes_of("work"));
            co_await std::move(at_work);
            co_await until_open(*tested, 2);
            auto stopping = tested->stop();
            CHECK(co_await is_refused(*idle));
            CHECK(!stopping.available());
            go_on.set_value();
            CHECK(co_await receive_to_end(*busy) == "done");
            co_await std::move(stopping);
            CHECK(tested->counters().aborted == 0);
            CHECK(tested->open_connections() == 0);
            co_await idle->close();
            co_await busy->close();
        });
    }

    TEST_CASE("a stop aborts after its grace what a peer does not take") {
        on_both([](host&) -> future<> {
            const std::vector<std::byte> much(64 << 20);
            server_options options;
            options.stop_grace = 50ms;
            auto tested = co_await server::start(
                address::loopback(0), options,
                [&much](connection& peer) -> future<> { co_await peer.send(much); });
            auto deaf = co_await connection::connect(tested->where());
            co_await until_open(*tested, 1);
            co_await tested->stop();
            CHECK(tested->counters().aborted == 1);
            co_await deaf->close();
        });
    }

    TEST_CASE("a handler that throws, whatever it throws, ends its connection alone") {
        on_both([](host&) -> future<> {
            auto tested =
                co_await server::start(address::loopback(0), {}, [](connection& peer) -> future<> {
                    const received asked = co_await peer.receive();
                    const std::string text(text_of(asked.bytes()));
                    if (text == "a") {
                        throw std::runtime_error("on purpose");
                    }
                    if (text == "b") {
                        throw 7;  // NOLINT: not a std::exception, on purpose
                    }
                    co_await peer.send(asked.bytes());
                });
            for (const char* text : {"a", "b"}) {
                auto client = co_await connection::connect(tested->where());
                co_await client->send(bytes_of(text));
                CHECK(co_await is_refused(*client));
                co_await client->close();
            }
            CHECK(tested->counters().failed == 2);
            auto client = co_await connection::connect(tested->where());
            CHECK(co_await ask(*client, "c") == "c");
            co_await client->close();
            co_await tested->stop();
        });
    }

    TEST_CASE("two servers can't share a name, and the second leaves nothing behind") {
        on_both([](host&) -> future<> {
            server_options options;
            options.name = "same";
            auto tested = co_await server::start(address::loopback(0), options, echo);
            auto second = server::start(address::loopback(0), options, echo);
            co_await settled(second);
            CHECK(second.failed());
            std::move(second).ignore();
            co_await tested->stop();
        });
    }

    TEST_CASE("each shard listens on the same port, and what it counts is in its metrics") {
        on_both(
            [](host& own) -> future<> {
                std::vector<std::unique_ptr<server>> servers(own.shard_count());
                address at = address::loopback(0);
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    co_await on(id, [&, at] {
                        return server::start(at, {}, echo).then([&](auto made) {
                            servers[this_shard().id()] = std::move(made);
                        });
                    });
                    at = servers[0]->where();
                }
                for (int i = 0; i < 20; ++i) {
                    auto client = co_await connection::connect(at);
                    CHECK(co_await ask(*client, "hello") == "hello");
                    co_await client->close();
                }
                std::vector<metrics_snapshot> all;
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    all.push_back(
                        co_await on(id, [id] { return this_shard().metrics().snapshot(id); }));
                }
                const std::string text = prometheus_text(std::vector{sum_of(all)});
                CHECK(text.find("weir_net_accepted_total{server=\"" + at.to_string() + "\"} 20") !=
                      std::string::npos);
                CHECK(text.find("weir_net_sent_bytes_total{server=\"" + at.to_string() +
                                "\"} 100") != std::string::npos);
                for (shard_id id = 0; id < own.shard_count(); ++id) {
                    co_await on(id, [&] {
                        return servers[this_shard().id()]->stop().then(
                            [&] { servers[this_shard().id()].reset(); });
                    });
                }
            },
            2);
    }

    TEST_CASE("a thousand idle connections take little memory and keep nobody waiting") {
        rlimit files{};
        getrlimit(RLIMIT_NOFILE, &files);
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        bool measure = false;
        const program body = [&measure](host&) -> future<> {
            constexpr std::size_t count = 1000;
            auto tested = co_await server::start(address::loopback(0), {}, echo);
            std::vector<std::unique_ptr<connection>> idle;
            const std::size_t before = mallinfo2().uordblks;
            for (std::size_t i = 0; i < count; ++i) {
                idle.push_back(co_await connection::connect(tested->where()));
            }
            co_await until_open(*tested, count);
            CHECK(co_await ask(*idle[count / 2], "still here") == "still here");
            if (measure) {  // both ends live in this process
                const std::size_t each = (mallinfo2().uordblks - before) / count;
                MESSAGE(each, " bytes a connection, both ends");
                CHECK(each < 8192);
            }
            auto active = co_await connection::connect(tested->where());
            CHECK(co_await ask(*active, "hello") == "hello");
            co_await active->close();
            for (auto& each : idle) {
                co_await each->close();
            }
            co_await tested->stop();
        };
        on_simulator(body, 1, 2);
        measure = true;
        on_kernel(body);
    }
}

}  // namespace weir::net::test
