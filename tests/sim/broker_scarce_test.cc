// SPDX-License-Identifier: Apache-2.0
// What clients see of a broker that finds no memory.
#include <memory>
#include <string>
#include <vector>

#include <broker/protocol/fetch.hh>
#include <broker/protocol/list_offsets.hh>
#include <broker/protocol/metadata.hh>
#include <broker/protocol/produce.hh>
#include <broker/protocol/record.hh>
#include <broker/server/broker.hh>
#include <broker/storage/bed.hh>
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
using sim_test::kafka_client;

namespace {

constexpr const char* topic = "a-topic-whose-name-has-memory-of-its-own";

future<> ask_for_topic(kafka_client& client) {
    protocol::metadata_request body;
    body.topics.emplace().push_back({topic});
    co_await client.send(body, 4);
    const auto answer = co_await client.receive<protocol::metadata_response>();
    if (answer.body.topics.at(0).error != error_code::none) {
        throw error("metadata", "topic", errc::closed);
    }
}

future<> until_served(net::address at) {
    for (;;) {
        std::unique_ptr<kafka_client> client;
        try {
            client = co_await kafka_client::connect(at, 10s);
            co_await ask_for_topic(*client);
            co_await client->close();
            co_return;
        } catch (const error&) {
            // The broker is still starting.
        }
        if (client) {
            co_await client->close();
        }
        co_await sleep_for(10ms);
    }
}

future<> send_produce(kafka_client& client) {
    protocol::batch_builder builder;
    builder.add(1000, std::nullopt, std::as_bytes(std::span("value", 5)));
    const auto batch = std::move(builder).build();
    protocol::produce_request body;
    body.acks = -1;
    body.topics.push_back(
        {topic, {{0, protocol::record_span{batch}}, {1, protocol::record_span{batch}}}});
    co_await client.send(body, 7);
}

/// A produce that names partitions and has nothing for them: who waits hears of no news.
future<> send_to_all(kafka_client& client, std::int32_t partitions) {
    protocol::produce_request body;
    body.acks = -1;
    auto& wanted = body.topics.emplace_back();
    wanted.name = topic;
    for (std::int32_t index = 0; index < partitions; ++index) {
        wanted.partitions.push_back({index, std::nullopt});
    }
    co_await client.send(body, 7);
}

future<> send_fetch(kafka_client& client, std::int32_t max_wait_ms) {
    protocol::fetch_request body;
    body.min_bytes = max_wait_ms > 0 ? 1 << 20 : 1;
    body.max_wait_ms = max_wait_ms;
    body.topics.push_back({topic,
                           {{.partition_index = 0, .partition_max_bytes = 1 << 20},
                            {.partition_index = 1, .partition_max_bytes = 1 << 20}}});
    co_await client.send(body, 11);
}

future<> send_list_offsets(kafka_client& client) {
    protocol::list_offsets_request body;
    body.topics.push_back({topic, {{0, 500}, {1, -1}}});
    co_await client.send(body, 1);
}

/// What a client asks without waiting, up to something that the broker doesn't serve.
future<> ask_everything(kafka_client& client) {
    co_await send_produce(client);
    co_await send_fetch(client, 0);
    co_await send_list_offsets(client);
    co_await send_fetch(client, 100);
    protocol::metadata_request later;
    later.topics.emplace().push_back({topic});
    co_await client.send(later, 4);
    co_await client.send(later, 12);
    // Never a word that has a client give up what may be had later.
    const auto check = [](const auto& answer) {
        for (const auto& part : answer.body.topics.at(0).partitions) {
            CHECK(
                (part.error == error_code::none || part.error == error_code::kafka_storage_error));
        }
    };
    check(co_await client.receive<protocol::produce_response>());
    check(co_await client.receive<protocol::fetch_response>());
    check(co_await client.receive<protocol::list_offsets_response>());
    check(co_await client.receive<protocol::fetch_response>());
    co_await client.receive<protocol::metadata_response>();
    co_await client.receive<protocol::metadata_response>();
}

/// Asks while there is too little memory: there are answers, or an end.
future<> ask_in_want(net::address at, storage_test::scarcity& here) {
    co_await until_served(at);
    auto client = co_await kafka_client::connect(at, 60s);
    co_await ask_for_topic(*client);
    const instant began = this_shard().now();
    here.begin();
    try {
        co_await ask_everything(*client);
    } catch (const std::exception&) {
        // It was closed, or found no memory itself.
    }
    here.end();
    CHECK(this_shard().now() - began < 10s);
    try {
        co_await client->close();
    } catch (const std::exception&) {
    }
    // Others are served as before.
    auto other = co_await kafka_client::connect(at, 10s);
    co_await send_produce(*other);
    const auto answer = co_await other->receive<protocol::produce_response>();
    for (const auto& part : answer.body.topics.at(0).partitions) {
        CHECK(part.error == error_code::none);
    }
    co_await other->close();
}

/// A broker of one shard with little memory for answers.
broker_options little_memory(const sim::sim_host& on) {
    broker_options options;
    options.listen = net::address::from(on.at(9092));
    options.serve_admin = false;
    options.data_directory = "/data";
    options.answer_bytes = 512 << 10;
    options.answer_bytes_each = 256 << 10;
    return options;
}

/// Waits for records of one partition by naming it, and others, as often as costs much.
future<> poll_for_long(net::address at, duration patience) {
    auto client = co_await kafka_client::connect(at, 10min);
    co_await ask_for_topic(*client);
    const instant end = this_shard().now() + patience;
    while (this_shard().now() < end) {
        protocol::fetch_request body;
        body.min_bytes = 1;
        body.max_wait_ms = 60'000;
        auto& wanted = body.topics.emplace_back();
        wanted.name = topic;
        for (std::int32_t index = 0; index < 64; ++index) {
            wanted.partitions.push_back({.partition_index = index, .partition_max_bytes = 1 << 20});
        }
        co_await client->send(body, 11);
        co_await client->receive<protocol::fetch_response>();
    }
    co_await client->close();
}

/// A batch that clients take in several pieces, and of which the memory for answers has three.
future<> produce_large(kafka_client& client, int batches) {
    const std::vector<std::byte> value(400 << 10);
    for (int each = 0; each < batches; ++each) {
        protocol::batch_builder builder;
        builder.add(1000, std::nullopt, value);
        const auto batch = std::move(builder).build();
        protocol::produce_request body;
        body.acks = -1;
        body.topics.push_back({topic, {{0, protocol::record_span{batch}}}});
        co_await client.send(body, 7);
        const auto answer = co_await client.receive<protocol::produce_response>();
        CHECK(answer.body.topics.at(0).partitions.at(0).error == error_code::none);
    }
}

future<> ask_for_large(kafka_client& client) {
    protocol::fetch_request body;
    body.min_bytes = 1;
    body.max_wait_ms = 500;
    body.topics.push_back({topic, {{.partition_index = 0, .partition_max_bytes = 1 << 20}}});
    co_await client.send(body, 11);
}

/// Asks for records, and takes none of them.
future<> ask_and_not_read(net::address at) {
    auto client = co_await kafka_client::connect(at, 10min);
    co_await ask_for_large(*client);
    co_await ask_for_large(*client);
    co_await sleep_for(10min);
}

/// returns  how long it took until there were records
future<duration> until_large_came(net::address at) {
    auto client = co_await kafka_client::connect(at, 60s);
    const instant began = this_shard().now();
    for (;;) {
        co_await ask_for_large(*client);
        const auto answer = co_await client->receive<protocol::fetch_response>();
        if (answer.body.topics.at(0).partitions.at(0).records &&
            !answer.body.topics.at(0).partitions.at(0).records->bytes.empty()) {
            break;
        }
    }
    co_await client->close();
    co_return this_shard().now() - began;
}

/// Asks for a topic of many partitions in a request that names much that is not there.
future<> ask_for_much(net::address at) {
    auto client = co_await kafka_client::connect(at, 60s);
    for (int round = 0; round < 20; ++round) {
        std::vector<std::string> names;
        for (int each = 0; each < 200; ++each) {
            names.push_back("a-name-of-no-topic-" + std::to_string(each));
        }
        protocol::metadata_request body;
        body.allow_auto_topic_creation = false;
        body.topics.emplace().push_back({topic});
        for (const std::string& each : names) {
            body.topics->push_back({each});
        }
        co_await client->send(body, 4);
        const auto answer = co_await client->receive<protocol::metadata_response>();
        CHECK(answer.body.topics.at(0).partitions.size() == 500);
    }
    co_await client->close();
}

}  // namespace

TEST_SUITE("sim/broker scarce") {
    TEST_CASE(
        "clients that need more of the memory for answers than they hold don't stop each other") {
        sim::world world(1);
        auto& server = world.add_host("broker", 1);
        broker_options options = little_memory(server);
        options.default_partitions = 500;
        server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
        std::vector<sim::sim_host*> clients;
        for (int each = 0; each < 12; ++each) {
            clients.push_back(&world.add_host("client", 1));
            clients.back()->start([at = options.listen](host&) -> future<> {
                co_await until_served(at);
                const instant began = this_shard().now();
                co_await ask_for_much(at);
                CHECK(this_shard().now() - began < 10s);
            });
        }
        for (const sim::sim_host* each : clients) {
            REQUIRE(world.run_until([&] { return each->exited(); }, 600s));
            CHECK(each->failure() == "");
        }
    }

    TEST_CASE("readers who take nothing hold their memory so long only as nobody else needs it") {
        sim::world world(1);
        auto& server = world.add_host("broker", 1);
        broker_options options = little_memory(server);
        options.answer_bytes = 2 << 20;
        options.answer_bytes_each = 1 << 20;
        options.server.connection.send_time_max = 10min;
        server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
        auto& producer = world.add_host("producer", 1);
        producer.start([at = options.listen](host&) -> future<> {
            co_await until_served(at);
            auto client = co_await kafka_client::connect(at, 60s);
            co_await produce_large(*client, 4);
            co_await client->close();
        });
        REQUIRE(world.run_until([&] { return producer.exited(); }, 600s));
        REQUIRE(producer.failure() == "");
        for (int each = 0; each < 8; ++each) {
            world.add_host("reader", 1).start([at = options.listen](host&) {
                return ask_and_not_read(at);
            });
        }
        auto& consumer = world.add_host("consumer", 1);
        consumer.start(
            [at = options.listen, most = 3 * options.send_time_in_want](host&) -> future<> {
                co_await sleep_for(2s);  // the readers' answers are on their way
                CHECK(co_await until_large_came(at) < most);
            });
        REQUIRE(world.run_until([&] { return consumer.exited(); }, 600s));
        CHECK(consumer.failure() == "");
    }

    TEST_CASE("consumers that wait give way to who needs the memory that they hold") {
        sim::world world(1);
        auto& server = world.add_host("broker", 1);
        broker_options options = little_memory(server);
        options.default_partitions = 64;
        server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
        for (int each = 0; each < 64; ++each) {
            world.add_host("consumer", 1).start([at = options.listen](host&) -> future<> {
                co_await until_served(at);
                co_await poll_for_long(at, 60s);
            });
        }
        auto& producer = world.add_host("producer", 1);
        producer.start([at = options.listen](host&) -> future<> {
            co_await until_served(at);
            co_await sleep_for(2s);
            auto client = co_await kafka_client::connect(at, 60s);
            for (int round = 0; round < 10; ++round) {
                const instant began = this_shard().now();
                co_await send_to_all(*client, 64);
                const auto answer = co_await client->receive<protocol::produce_response>();
                CHECK(answer.body.topics.at(0).partitions.size() == 64);
                CHECK(this_shard().now() - began < 1s);
                co_await sleep_for(1s);
            }
            co_await client->close();
        });
        REQUIRE(world.run_until([&] { return producer.exited(); }, 600s));
        CHECK(producer.failure() == "");
    }

    TEST_CASE(
        "whichever allocation fails, what a client asked is answered or its connection ends") {
        storage_test::whichever_allocation_fails(20, [](storage_test::scarcity& here) {
            sim::world world(1);
            auto& server = world.add_host("broker", 2);
            auto& client = world.add_host("client", 1);
            broker_options options;
            options.listen = net::address::from(server.at(9092));
            options.serve_admin = false;
            options.data_directory = "/data";
            options.default_partitions = 2;
            server.start([&](host& on) { return run_broker(on, options, [](const auto&) {}); });
            client.start([&](host&) { return ask_in_want(options.listen, here); });
            REQUIRE(world.run_until([&] { return client.exited(); }, 120s));
            CHECK(client.failure() == "");
            world.stop(server);
            REQUIRE(world.run_until([&] { return server.exited(); }, 60s));
            CHECK(server.failure() == "");
        });
    }
}
