// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include <boost/endian/conversion.hpp>
#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/net/frame.hh>
#include <weir/net/listener.hh>

namespace weir::net::test {

namespace sim = io::sim;
using namespace std::chrono_literals;

namespace {

struct ends {
    std::unique_ptr<listener> from;
    std::unique_ptr<connection> client;
    std::unique_ptr<connection> server;

    future<> open() {
        from = co_await listener::listen(address::loopback(0));
        auto connecting = connection::connect(from->where());
        server = co_await from->accept();
        client = co_await std::move(connecting);
    }
    future<> close() {
        co_await client->close();
        co_await server->close();
        co_await from->close();
    }
};

void append_frame(std::vector<std::byte>& to, std::span<const std::byte> body) {
    std::byte prefix[4];
    boost::endian::store_big_s32(reinterpret_cast<unsigned char*>(prefix),
                                 static_cast<std::int32_t>(body.size()));
    to.insert(to.end(), prefix, prefix + 4);
    to.insert(to.end(), body.begin(), body.end());
}

std::vector<std::byte> prefix_of(std::int32_t length) {
    std::vector<std::byte> bytes(4);
    boost::endian::store_big_s32(reinterpret_cast<unsigned char*>(bytes.data()), length);
    return bytes;
}

/// What next() says after `sent`, and the end too if `ended`.
program next_is(std::vector<std::byte> sent, bool ended, frame_options options,
                frame::status expected) {
    return [=](host&) -> future<> {
        ends pair;
        co_await pair.open();
        frame_reader reader(*pair.server, options);
        co_await pair.client->send(sent);
        if (ended) {
            co_await pair.client->shutdown_send();
        }
        const frame got = co_await reader.next();
        CHECK(got.what() == expected);
        co_await pair.close();
    };
}

}  // namespace

TEST_SUITE("net/frame") {
    TEST_CASE("frames come out as they went in, however the stream was cut") {
        on_both([](host&) -> future<> {
            std::vector<std::vector<std::byte>> bodies;
            std::vector<std::byte> stream;
            std::uint64_t random = this_shard().random();
            for (const std::size_t size : {0U, 1U, 3U, 100U, 16'384U, 16'385U, 70'000U, 0U, 5U,
                                           200'000U, 8'191U, 8'192U, 4U}) {
                bodies.push_back(pattern(size, static_cast<std::uint32_t>(random)));
                append_frame(stream, bodies.back());
            }
            ends pair;
            co_await pair.open();
            // Cut where chance will have it, sometimes in single bytes.
            auto sending = [](connection& to, std::span<const std::byte> rest,
                              std::uint64_t cut) -> future<> {
                while (!rest.empty()) {
                    cut = cut * 6364136223846793005 + 1442695040888963407;
                    const std::size_t most = (cut >> 40) % 4 == 0 ? 3 : 20'000;
                    const std::size_t count =
                        std::min<std::size_t>(rest.size(), 1 + (cut >> 33) % most);
                    co_await to.send(rest.first(count));
                    rest = rest.subspan(count);
                }
                co_await to.shutdown_send();
            }(*pair.client, stream, random);
            frame_reader reader(*pair.server, {});
            for (const auto& body : bodies) {
                const frame got = co_await reader.next();
                REQUIRE(got.what() == frame::status::complete);
                CHECK(std::ranges::equal(got.bytes(), body));
            }
            CHECK((co_await reader.next()).what() == frame::status::end);
            co_await std::move(sending);
            co_await pair.close();
        });
    }

    TEST_CASE("bytes that come one by one make frames too") {
        on_both([](host&) -> future<> {
            std::vector<std::byte> stream;
            append_frame(stream, bytes_of("byte by byte"));
            append_frame(stream, bytes_of("again"));
            ends pair;
            co_await pair.open();
            auto sending = [](connection& to, std::span<const std::byte> all) -> future<> {
                for (const std::byte& each : all) {
                    co_await to.send(std::span(&each, 1));
                    co_await sleep_for(100us);
                }
            }(*pair.client, stream);
            frame_reader reader(*pair.server, {});
            CHECK(text_of((co_await reader.next()).bytes()) == "byte by byte");
            CHECK(text_of((co_await reader.next()).bytes()) == "again");
            co_await std::move(sending);
            co_await pair.close();
        });
    }

    TEST_CASE("a negative length is refused, and one above the limit, before anything is taken") {
        for (const std::int32_t lie : {-1, INT32_MIN, 1001, INT32_MAX}) {
            frame_options small;
            small.frame_bytes_max = 1000;
            on_both([=](host&) -> future<> {
                ends pair;
                co_await pair.open();
                message_budget budget({.bytes = 2000, .finish_bytes = 1000, .whole_bytes = 500});
                frame_reader reader(*pair.server, small, &budget);
                co_await pair.client->send(prefix_of(lie));
                const frame got = co_await reader.next();
                CHECK(got.what() == frame::status::refused);
                CHECK(got.claimed() == lie);
                CHECK(budget.bytes_used() == 0);
                co_await pair.close();
            });
        }
    }

    TEST_CASE("the end within a prefix or a body is a cut, between frames the end") {
        auto half = prefix_of(100);
        on_both(next_is({}, true, {}, frame::status::end));
        on_both(next_is({std::byte{0}, std::byte{0}}, true, {}, frame::status::cut));
        on_both(next_is(half, true, {}, frame::status::cut));
        half.resize(54);
        on_both(next_is(half, true, {}, frame::status::cut));
    }

    TEST_CASE("nothing for too long is idle, half a frame for ever too slow") {
        // One limit at a time: a machine that stands still must not reach the other one first.
        frame_options no_silence;
        no_silence.idle_max = 20ms;
        frame_options no_halves;
        no_halves.frame_time_max = 20ms;
        on_both(next_is({}, false, no_silence, frame::status::idle));
        on_both(next_is({std::byte{0}}, false, no_halves, frame::status::too_slow));
        on_both(next_is(prefix_of(1000), false, no_halves, frame::status::too_slow));
    }

    TEST_CASE("a frame's time runs from its first byte, however many follow slowly") {
        on_both([](host&) -> future<> {
            frame_options impatient;
            impatient.frame_time_max = 50ms;
            ends pair;
            co_await pair.open();
            bool stop = false;
            auto dripping = [](connection& to, const bool& ended) -> future<> {
                co_await to.send(prefix_of(1'000'000));
                while (!ended) {
                    co_await to.send(bytes_of("x"));
                    co_await sleep_for(1ms);
                }
            }(*pair.client, stop);
            frame_reader reader(*pair.server, impatient);
            CHECK((co_await reader.next()).what() == frame::status::too_slow);
            stop = true;
            co_await std::move(dripping);
            co_await pair.close();
        });
    }

    TEST_CASE("frames that fill a budget are finished one after the other, and none blocks") {
        on_both([](host&) -> future<> {
            constexpr std::size_t size = 100'000, peers = 4;
            message_budget budget({.bytes = 160'000, .finish_bytes = size, .whole_bytes = 10'000});
            std::vector<std::byte> stream;
            const auto body = pattern(size);
            append_frame(stream, body);
            append_frame(stream, body);
            std::vector<ends> pairs(peers);
            std::vector<future<>> work;
            for (ends& each : pairs) {
                co_await each.open();
                work.push_back(each.client->send(stream));
                work.push_back([](connection& from, message_budget& charged,
                                  const std::vector<std::byte>& expected) -> future<> {
                    frame_reader reader(from, {}, &charged);
                    for (int i = 0; i < 2; ++i) {
                        const frame got = co_await reader.next();
                        CHECK(got.what() == frame::status::complete);
                        CHECK(std::ranges::equal(got.bytes(), expected));
                        co_await sleep_for(1ms);
                    }
                }(*each.server, budget, body));
            }
            for (future<>& each : work) {
                co_await std::move(each);
            }
            CHECK(budget.counters().waits > 0);
            CHECK(budget.bytes_used() == 0);
            for (ends& each : pairs) {
                co_await each.close();
            }
        });
    }

    TEST_CASE("150 large frames that stop half way keep neither a small nor a large one waiting") {
        on_simulator(
            [](host&) -> future<> {
                constexpr std::size_t liars = 150, promised = 1'000'000, sent = 40'000;
                message_budget budget(
                    {.bytes = 16'000'000, .finish_bytes = 2'000'000, .whole_bytes = 1'000'000});
                frame_options options;
                options.frame_time_max = 1h;
                std::vector<ends> pairs(liars + 1);
                std::vector<std::unique_ptr<frame_reader>> readers;
                std::vector<future<frame>> held;
                auto half = prefix_of(promised);
                half.resize(sent);
                for (ends& each : pairs) {
                    co_await each.open();
                    readers.push_back(
                        std::make_unique<frame_reader>(*each.server, options, &budget));
                }
                for (std::size_t i = 0; i < liars; ++i) {
                    held.push_back(readers[i]->next());
                    co_await pairs[i].client->send(half);
                }
                co_await sleep_for(1s);
                // What is there is charged, not what was promised.
                CHECK(budget.bytes_used() <= liars * 50'000);
                CHECK(budget.bytes_used() >= liars * sent);
                for (const std::size_t size : {std::size_t{50}, promised}) {
                    const auto body = pattern(size);
                    std::vector<std::byte> stream;
                    append_frame(stream, body);
                    auto sending = pairs.back().client->send(stream);
                    const frame got = co_await readers.back()->next();
                    CHECK(std::ranges::equal(got.bytes(), body));
                    co_await std::move(sending);
                }
                for (ends& each : pairs) {
                    co_await each.client->shutdown_send();
                }
                for (auto& each : held) {
                    CHECK((co_await std::move(each)).what() == frame::status::cut);
                }
                CHECK(budget.bytes_used() == 0);
                for (ends& each : pairs) {
                    co_await each.close();
                }
            },
            1, 2);
    }

    TEST_CASE("a length that is promised takes no more than four times what has come") {
        on_simulator([](host&) -> future<> {
            ends pair;
            co_await pair.open();
            frame_reader reader(*pair.server, {});
            auto first = prefix_of(50'000'000);
            first.resize(4 + 100);
            auto next = reader.next();
            co_await pair.client->send(first);
            co_await sleep_for(10ms);
            const std::size_t before = io::sim::memory::current()->bytes;
            const std::vector<std::byte> more(3'000);
            co_await pair.client->send(more);
            co_await sleep_for(10ms);
            CHECK(io::sim::memory::current()->bytes < before + 20'000);
            co_await pair.client->shutdown_send();
            CHECK((co_await std::move(next)).what() == frame::status::cut);
            co_await pair.close();
        });
    }

    TEST_CASE("a frame that comes whole passes when half-sent ones have used everything up") {
        on_both([](host&) -> future<> {
            message_budget budget(
                {.bytes = 220'000, .finish_bytes = 100'000, .whole_bytes = 20'000});
            frame_options patient;
            patient.frame_time_max = 1h;
            std::vector<ends> pairs(4);
            std::vector<std::unique_ptr<frame_reader>> readers;
            std::vector<future<frame>> held;
            auto half = prefix_of(100'000);
            half.resize(80'000);
            for (ends& each : pairs) {
                co_await each.open();
                readers.push_back(std::make_unique<frame_reader>(*each.server, patient, &budget));
            }
            std::vector<future<>> sending;
            for (std::size_t i = 0; i < 3; ++i) {
                held.push_back(readers[i]->next());
                sending.push_back(pairs[i].client->send(half));
            }
            while (budget.waiting() == 0) {
                co_await sleep_for(1ms);
            }
            co_await sleep_for(10ms);
            for (int i = 0; i < 100; ++i) {
                std::vector<std::byte> stream;
                append_frame(stream, bytes_of("fifty bytes or so"));
                co_await pairs.back().client->send(stream);
                CHECK(text_of((co_await readers.back()->next()).bytes()) == "fifty bytes or so");
            }
            for (auto& each : sending) {
                co_await std::move(each);
            }
            for (ends& each : pairs) {
                co_await each.client->shutdown_send();
            }
            for (auto& each : held) {
                CHECK((co_await std::move(each)).what() == frame::status::cut);
            }
            for (ends& each : pairs) {
                co_await each.close();
            }
        });
    }

    TEST_CASE("time in which a frame waits for room is not its peer's") {
        on_both([](host&) -> future<> {
            message_budget budget({.bytes = 60'000, .finish_bytes = 50'000, .whole_bytes = 5'000});
            frame_options impatient;
            impatient.frame_time_max = 100ms;
            ends pair;
            co_await pair.open();
            frame_reader reader(*pair.server, impatient, &budget);
            // Others hold it all: one what anybody may take, one what is kept to finish.
            message_charge other, finisher;
            co_await budget.charge(other, 5'000, 5'000, false);
            co_await budget.charge(finisher, 40'000, 40'000, false);
            const auto body = pattern(20'000);
            std::vector<std::byte> stream;
            append_frame(stream, body);
            auto reading = reader.next();
            co_await pair.client->send(stream);
            co_await sleep_for(500ms);
            CHECK(!reading.available());
            finisher.give_back();
            const frame got = co_await std::move(reading);
            CHECK(std::ranges::equal(got.bytes(), body));
            co_await pair.close();
        });
    }

    TEST_CASE("what lies in the socket is looked at before a deadline that passed while we slept") {
        on_kernel([](host&) -> future<> {
            ends pair;
            co_await pair.open();
            frame_options impatient;
            impatient.idle_max = 30ms;
            impatient.frame_time_max = 30ms;
            const auto body = pattern(100'000);
            std::vector<std::byte> stream;
            append_frame(stream, body);
            frame_reader reader(*pair.server, impatient);
            for (int i = 0; i < 5; ++i) {
                auto reading = reader.next();
                co_await pair.client->send(stream);
                std::this_thread::sleep_for(100ms);  // as a stopped process does
                const frame got = co_await std::move(reading);
                CHECK(got.what() == frame::status::complete);
                CHECK(std::ranges::equal(got.bytes(), body));
            }
            co_await pair.close();
        });
    }

    TEST_CASE("a host that stops for longer than a peer may take hears it out afterwards") {
        const auto options = [](std::uint64_t) {
            sim::world_options made;
            made.faults[sim::fault::pause] = 20'000;  // in a million turns
            made.schedule.pause = {2s, 5s};
            return made;
        };
        sim::explore(1, 10, options, [](sim::world& world) {
            auto& tested = world.add_host("tested", 1);
            tested.start([](host&) -> future<> {
                ends pair;
                co_await pair.open();
                frame_options impatient;
                impatient.idle_max = 1s;
                impatient.frame_time_max = 1s;
                const auto body = pattern(300'000);
                std::vector<std::byte> stream;
                append_frame(stream, body);
                frame_reader reader(*pair.server, impatient);
                for (int i = 0; i < 20; ++i) {
                    auto sending = pair.client->send(stream);
                    const frame got = co_await reader.next();
                    CHECK(got.what() == frame::status::complete);
                    co_await std::move(sending);
                }
                co_await pair.close();
            });
            REQUIRE(world.run_until([&] { return tested.exited(); }, 1h));
            CHECK(tested.failure() == "");
        });
    }
}

}  // namespace weir::net::test
