// SPDX-License-Identifier: Apache-2.0
#include <boost/endian/conversion.hpp>
#include <doctest/doctest.h>
#include <net/both.hh>

#include <weir/core/sleep.hh>
#include <weir/net/frame.hh>
#include <weir/net/listener.hh>

namespace weir::net::test {

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
                semaphore budget(2000);
                frame_reader reader(*pair.server, small, &budget);
                co_await pair.client->send(prefix_of(lie));
                const frame got = co_await reader.next();
                CHECK(got.what() == frame::status::refused);
                CHECK(got.claimed() == lie);
                CHECK(budget.available() == 2000);
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

    TEST_CASE("frames share a budget: one waits until another is gone, and none blocks for ever") {
        on_both([](host&) -> future<> {
            constexpr std::size_t size = 100'000;
            semaphore budget(size + frame_reader::first_step);
            std::vector<std::byte> stream;
            const auto body = pattern(size);
            append_frame(stream, body);
            ends one, two;
            co_await one.open();
            co_await two.open();
            frame_reader first(*one.server, {}, &budget);
            frame_reader second(*two.server, {}, &budget);
            auto sending_one = one.client->send(stream);
            auto sending_two = two.client->send(stream);
            auto later = [](frame_reader& from,
                            const std::vector<std::byte>& expected) -> future<> {
                const frame got = co_await from.next();
                CHECK(got.what() == frame::status::complete);
                CHECK(std::ranges::equal(got.bytes(), expected));
            };
            auto a = later(first, body);
            auto b = later(second, body);
            co_await std::move(a);
            co_await std::move(b);
            co_await std::move(sending_one);
            co_await std::move(sending_two);
            CHECK(budget.available() == size + frame_reader::first_step);
            co_await one.close();
            co_await two.close();
        });
    }

    TEST_CASE("large frames that never come don't keep a small one waiting") {
        on_both([](host&) -> future<> {
            constexpr std::size_t large_size = 1'000'000;
            semaphore budget(200'000);
            semaphore large(large_size);
            frame_options options;
            options.large_frame_bytes = 100'000;
            ends one, two, three;
            co_await one.open();
            co_await two.open();
            co_await three.open();
            frame_reader first(*one.server, options, &budget, &large);
            frame_reader second(*two.server, options, &budget, &large);
            frame_reader third(*three.server, options, &budget, &large);
            auto liar = prefix_of(large_size);
            liar.resize(frame_reader::first_step + 1000);
            auto holding = first.next();
            co_await one.client->send(liar);
            while (large.available() != 0) {
                co_await yield();  // or the second one might come first
            }
            auto in_line = second.next();
            co_await two.client->send(liar);
            const auto body = pattern(options.large_frame_bytes);
            std::vector<std::byte> stream;
            append_frame(stream, body);
            auto sending = three.client->send(stream);
            const frame got = co_await third.next();
            CHECK(std::ranges::equal(got.bytes(), body));
            co_await std::move(sending);
            CHECK(budget.available() == 200'000 - options.large_frame_bytes);
            co_await one.client->shutdown_send();
            CHECK((co_await std::move(holding)).what() == frame::status::cut);
            co_await two.client->shutdown_send();
            CHECK((co_await std::move(in_line)).what() == frame::status::cut);
            CHECK(large.available() == large_size);
            co_await one.close();
            co_await two.close();
            co_await three.close();
        });
    }

    TEST_CASE("a long frame takes no budget before its first bytes have come") {
        on_both([](host&) -> future<> {
            semaphore budget(1 << 20);
            frame_options impatient;
            impatient.frame_time_max = 20ms;
            ends pair;
            co_await pair.open();
            frame_reader reader(*pair.server, impatient, &budget);
            auto reading = reader.next();
            auto liar = prefix_of(1'000'000);
            liar.resize(1000);
            co_await pair.client->send(liar);
            co_await sleep_for(5ms);
            CHECK(budget.available() == 1 << 20);
            CHECK((co_await std::move(reading)).what() == frame::status::too_slow);
            co_await pair.close();
        });
    }
}

}  // namespace weir::net::test
