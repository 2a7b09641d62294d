// SPDX-License-Identifier: Apache-2.0
// What clients see of a disk that fails, and of a log with much under way.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <broker/protocol/fetch.hh>
#include <broker/protocol/metadata.hh>
#include <broker/protocol/produce.hh>
#include <broker/protocol/record.hh>
#include <broker/server/broker.hh>
#include <doctest/doctest.h>
#include <sim/broker_client.hh>

#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

namespace sim = weir::io::sim;
using namespace weir;
using namespace weir::broker;
using namespace std::chrono_literals;
using protocol::error_code;
using sim::memory::outside;
using sim_test::kafka_client;

namespace {

constexpr const char* topic = "t";

broker_options one_partition(const sim::sim_host& on) {
    broker_options options;
    options.listen = net::address::from(on.at(9092));
    options.serve_admin = false;
    options.data_directory = "/data";
    options.default_partitions = 1;
    return options;
}

/// A client whose topic is there.
future<std::unique_ptr<kafka_client>> connect(net::address to, duration patience = 10s) {
    for (;;) {
        std::unique_ptr<kafka_client> client;
        try {
            client = co_await kafka_client::connect(to, patience);
            protocol::metadata_request body;
            body.topics.emplace().push_back({topic});
            co_await client->send(body, 4);
            const auto answer = co_await client->receive<protocol::metadata_response>();
            if (answer.body.topics.at(0).error == error_code::none) {
                co_return client;
            }
        } catch (const error&) {
            // The broker is still starting.
        }
        if (client) {
            co_await client->close();
        }
        co_await sleep_for(10ms);
    }
}

future<> send_value(kafka_client& client, std::uint64_t value, std::size_t bytes,
                    std::int32_t partition = 0) {
    std::vector<std::byte> payload(std::max<std::size_t>(bytes, 8), std::byte{0x5a});
    protocol::store_big(payload.data(), value);
    protocol::batch_builder builder;
    builder.add(1000, std::nullopt, payload);
    const std::vector<std::byte> batch = std::move(builder).build();
    protocol::produce_request body;
    body.acks = -1;
    body.topics.push_back({topic, {{partition, protocol::record_span{batch}}}});
    co_await client.send(body, 7);
}

struct outcome {
    error_code error;
    std::int64_t base_offset;
};

future<outcome> take_answer(kafka_client& client) {
    const auto answer = co_await client.receive<protocol::produce_response>();
    const auto& part = answer.body.topics.at(0).partitions.at(0);
    co_return outcome{part.error, part.base_offset};
}

future<outcome> produce(kafka_client& client, std::uint64_t value, std::size_t bytes,
                        std::int32_t partition = 0) {
    co_await send_value(client, value, bytes, partition);
    co_return co_await take_answer(client);
}

future<> send_fetch(kafka_client& client, std::int64_t offset, std::int32_t partition = 0) {
    protocol::fetch_request body;
    auto& wanted = body.topics.emplace_back();
    wanted.name = topic;
    wanted.partitions.push_back(
        {.partition_index = partition, .fetch_offset = offset, .partition_max_bytes = 1 << 20});
    co_await client.send(body, 11);
}

/// The values of the whole log. One that comes a second time, or a gap, fails the test.
future<std::vector<std::uint64_t>> fetch_all(kafka_client& client) {
    std::vector<std::uint64_t> values;
    for (std::int64_t offset = 0;;) {
        co_await send_fetch(client, offset);
        const auto answer = co_await client.receive<protocol::fetch_response>();
        const auto& part = answer.body.topics.at(0).partitions.at(0);
        REQUIRE(part.error == error_code::none);
        if (offset == part.high_watermark) {
            co_return values;
        }
        protocol::batch_walk batches(part.records->bytes);
        while (const auto batch = batches.next()) {
            REQUIRE(batch->crc_matches());
            protocol::record_walk records(*batch);
            while (const auto record = records.next()) {
                if (record->offset >= offset) {
                    REQUIRE(record->offset == offset++);
                    values.push_back(protocol::load_big<std::uint64_t>(record->value->data()));
                }
            }
        }
    }
}

bool has_in_order(const std::vector<std::uint64_t>& log, const std::vector<std::uint64_t>& sought) {
    auto at = log.begin();
    for (const std::uint64_t each : sought) {
        at = std::find(at, log.end(), each);
        if (at == log.end()) {
            return false;
        }
        ++at;
    }
    return true;
}

/// Produces, breaks the disk, produces until that is told, reads, mends the disk, and produces
/// until that is acknowledged.
future<> through_a_bad_time(net::address broker, sim::world& world) {
    auto client = co_await connect(broker);
    std::vector<std::uint64_t> acknowledged;
    std::uint64_t value = 0;
    for (; value < 30; ++value) {
        CHECK((co_await produce(*client, value, 700)).error == error_code::none);
        acknowledged.push_back(value);
    }
    world.faults().resume();
    int refused = 0;
    for (; refused < 5; ++value) {
        const outcome answer = co_await produce(*client, value, 700);
        if (answer.error == error_code::none) {
            acknowledged.push_back(value);  // it met no fault
            continue;
        }
        CHECK(static_cast<int>(answer.error) == 56);  // KAFKA_STORAGE_ERROR
        ++refused;
        CHECK(has_in_order(co_await fetch_all(*client), acknowledged));
    }
    world.faults().stop();
    const instant healed = this_shard().now();
    for (bool back = false; !back; ++value) {
        const outcome answer = co_await produce(*client, value, 700);
        back = answer.error == error_code::none;
        CHECK((back || answer.error == error_code::kafka_storage_error));
        co_await sleep_for(10ms);
    }
    CHECK(this_shard().now() - healed < 5s);
    acknowledged.push_back(value - 1);
    CHECK((co_await produce(*client, value, 700)).error == error_code::none);
    acknowledged.push_back(value);
    CHECK(has_in_order(co_await fetch_all(*client), acknowledged));
    co_await client->close();
}

enum class want { append, read };

/// Many who want something of partition 0, whose device stands still, and a few who want something
/// of partition 2, which is on the same shard: what is in memory and, unless reads have used up
/// what may be under way at a device, to append. They come to either shard.
future<> beside_a_stalled_device(net::address broker, sim::sim_host& server, want of_it) {
    constexpr unsigned many = 90;
    constexpr unsigned each_asks = 4;
    constexpr unsigned few = 8;
    std::vector<std::unique_ptr<kafka_client>> waiting;
    std::vector<std::unique_ptr<kafka_client>> others;
    for (unsigned i = 0; i < many + few; ++i) {
        (i < many ? waiting : others).push_back(co_await connect(broker, 300s));
    }
    // Memory holds what was appended last.
    CHECK((co_await produce(*others.front(), 7, 700, 0)).error == error_code::none);
    for (std::uint64_t i = 0; i < 30; ++i) {
        CHECK((co_await produce(*others.front(), i, 700, 2)).error == error_code::none);
    }
    const auto stall = [&server](bool stalled) {
        const outside memory;
        REQUIRE(server.disk().stall("/data/t-0", stalled));
    };
    stall(true);
    for (auto& each : waiting) {
        for (unsigned i = 0; i < each_asks; ++i) {
            co_await (of_it == want::append ? send_value(*each, i, 100) : send_fetch(*each, 0));
        }
    }
    co_await sleep_for(100ms);
    const instant begin = this_shard().now();
    for (auto& each : others) {
        co_await send_fetch(*each, 29, 2);
        const auto answer = co_await each->receive<protocol::fetch_response>();
        CHECK(!answer.body.topics.at(0).partitions.at(0).records->bytes.empty());
        if (of_it == want::append) {
            CHECK((co_await produce(*each, 7, 100, 2)).error == error_code::none);
        }
    }
    CHECK(this_shard().now() - begin < 1s);
    stall(false);
    for (auto& each : waiting) {
        for (unsigned i = 0; i < each_asks; ++i) {
            if (of_it == want::append) {
                CHECK((co_await take_answer(*each)).error == error_code::none);
            } else {
                const auto answer = co_await each->receive<protocol::fetch_response>();
                CHECK(!answer.body.topics.at(0).partitions.at(0).records->bytes.empty());
            }
        }
        co_await each->close();
    }
    for (auto& each : others) {
        co_await each->close();
    }
}

}  // namespace

TEST_SUITE("sim/broker storage") {
    TEST_CASE("a failed disk is a storage error until the log is back, which needs no restart") {
        for (const auto which :
             {sim::fault::write_error, sim::fault::sync_error, sim::fault::no_space}) {
            for (std::uint64_t seed = 1; seed <= 5; ++seed) {
                CAPTURE(seed);
                sim::world_options harm;
                harm.faults[which] = 1'000'000;
                sim::world world(seed, harm);
                world.faults().stop();
                auto& server = world.add_host("broker", 2);
                auto& client = world.add_host("client", 1);
                broker_options options = one_partition(server);
                options.storage.log.segment_bytes = 16 << 10;
                options.storage.log.zero_ahead_min_bytes = 4 << 10;
                options.storage.log.zero_ahead_max_bytes = 8 << 10;
                options.storage.recent_bytes = 4 << 10;
                options.storage.reopen.wait_max = 2s;
                server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
                client.start([&](host&) { return through_a_bad_time(options.listen, world); });
                REQUIRE(world.run_until([&] { return client.exited(); }, 600s));
                CHECK(client.failure() == "");
                CHECK(server.starts() == 1);
                CHECK(world.faults().injected(which) > 0);
            }
        }
    }

    TEST_CASE("a device that stands still stops only who needs it, from whichever shard") {
        for (const want of_it : {want::append, want::read}) {
            CAPTURE(static_cast<int>(of_it));
            sim::world world(3, {});
            auto& server = world.add_host("broker", 2);
            auto& client = world.add_host("client", 1);
            broker_options options = one_partition(server);
            options.default_partitions = 4;
            options.storage.recent_bytes = 64 << 10;
            server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
            client.start(
                [&](host&) { return beside_a_stalled_device(options.listen, server, of_it); });
            REQUIRE(world.run_until([&] { return client.exited(); }, 60s));
            CHECK(client.failure() == "");
            world.stop(server);
            REQUIRE(world.run_until([&] { return server.exited(); }, 60s));
            CHECK(server.failure() == "");
        }
    }

    TEST_CASE("many producers with more than 8 MiB under way are not refused, and keep order") {
        constexpr unsigned producers = 10;
        constexpr std::uint64_t batches = 6;  // of each, sent without waiting for an answer
        constexpr std::size_t bytes = 400 << 10;
        sim::world_options slow;
        slow.disk.write = {20ms, 40ms};
        slow.network.latency.high = 200us;
        sim::world world(1, slow);
        auto& server = world.add_host("broker", 2);
        const broker_options options = one_partition(server);
        REQUIRE(options.storage.log.max_waiting_bytes == 8 << 20);
        REQUIRE(producers * batches * bytes > 2 * options.storage.log.max_waiting_bytes);
        server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
        std::vector<sim::sim_host*> clients;
        for (unsigned i = 0; i < producers; ++i) {
            clients.push_back(&world.add_host("producer", 1));
            clients.back()->start([i, at = options.listen](host&) -> future<> {
                auto client = co_await connect(at, 300s);
                for (std::uint64_t each = 0; each < batches; ++each) {
                    co_await send_value(*client, i * batches + each, bytes);
                }
                std::int64_t last = -1;
                for (std::uint64_t each = 0; each < batches; ++each) {
                    const outcome answer = co_await take_answer(*client);
                    CHECK(answer.error == error_code::none);
                    CHECK(answer.base_offset > last);
                    last = answer.base_offset;
                }
                co_await client->close();
            });
        }
        for (const sim::sim_host* each : clients) {
            REQUIRE(world.run_until([&] { return each->exited(); }, 600s));
            CHECK(each->failure() == "");
        }
        auto& reader = world.add_host("reader", 1);
        reader.start([at = options.listen](host&) -> future<> {
            auto client = co_await connect(at, 300s);
            const std::vector<std::uint64_t> values = co_await fetch_all(*client);
            CHECK(values.size() == producers * batches);
            for (unsigned i = 0; i < producers; ++i) {
                std::vector<std::uint64_t> own;
                for (std::uint64_t each = 0; each < batches; ++each) {
                    own.push_back(i * batches + each);
                }
                CHECK(has_in_order(values, own));
            }
            co_await client->close();
        });
        REQUIRE(world.run_until([&] { return reader.exited(); }, 600s));
        CHECK(reader.failure() == "");
    }
}
