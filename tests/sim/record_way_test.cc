// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <string>
#include <vector>

#include <broker/protocol/fetch.hh>
#include <broker/protocol/metadata.hh>
#include <broker/protocol/produce.hh>
#include <broker/protocol/record.hh>
#include <broker/server/broker.hh>
#include <doctest/doctest.h>
#include <sim/broker_client.hh>

#include <weir/core/probe.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

namespace sim = weir::io::sim;
using namespace weir;
using namespace weir::broker;
using namespace std::chrono_literals;
using sim_test::kafka_client;

namespace {

constexpr const char* topic = "way";

class recorder final : public probe_sink {
  public:
    void passed(const char* name) noexcept override {
        const sim::memory::outside world;
        if (listening) {
            steps.emplace_back(name);
        }
    }
    bool listening = false;
    std::vector<std::string> steps;
};

/// The first column of the table in README's section "The way of a record".
std::vector<std::string> steps_in_readme() {
    std::ifstream readme(WEIR_README);
    std::vector<std::string> steps;
    bool inside = false;
    for (std::string line; std::getline(readme, line);) {
        if (line.starts_with("## ")) {
            inside = line == "## The way of a record";
        }
        if (inside && line.starts_with("| ") && !line.starts_with("| step ")) {
            steps.push_back(line.substr(2, line.find(' ', 2) - 2));
        }
    }
    return steps;
}

future<> find_topic(net::address at) {
    auto client = co_await kafka_client::connect(at, 10s);
    protocol::metadata_request body;
    body.topics.emplace().push_back({topic});
    co_await client->send(body, 4);
    co_await client->receive<protocol::metadata_response>();
    co_await client->close();
}

/// Produces one record and reads it.
/// returns  what was read
future<std::string> there_and_back(net::address at, std::string text) {
    auto client = co_await kafka_client::connect(at, 10s);
    protocol::batch_builder builder;
    builder.add(1000, std::nullopt, std::as_bytes(std::span(text)));
    const auto batch = std::move(builder).build();
    protocol::produce_request produce;
    produce.acks = -1;
    produce.topics.push_back({topic, {{0, protocol::record_span{batch}}}});
    co_await client->send(produce, 7);
    const auto stored = co_await client->receive<protocol::produce_response>();

    protocol::fetch_request fetch;
    fetch.min_bytes = 1;
    fetch.topics.push_back({topic,
                            {{.fetch_offset = stored.body.topics[0].partitions[0].base_offset,
                              .partition_max_bytes = 1 << 20}}});
    co_await client->send(fetch, 11);
    const auto got = co_await client->receive<protocol::fetch_response>();
    protocol::batch_walk batches(got.body.topics[0].partitions[0].records->bytes);
    const auto found = batches.next();
    std::string read;
    if (found) {
        protocol::record_walk records(*found);
        const auto record = records.next();
        if (record && record->value) {
            read.assign(reinterpret_cast<const char*>(record->value->data()),
                        record->value->size());
        }
    }
    co_await client->close();
    co_return read;
}

future<> run_client(net::address at, recorder& heard, std::string& read) {
    for (bool found = false; !found;) {
        try {
            co_await find_topic(at);
            found = true;
        } catch (const error&) {
            // The broker is still starting.
        }
        co_await sleep_for(10ms);
    }
    heard.listening = true;
    const std::string got = co_await there_and_back(at, "over the weir");
    const sim::memory::outside world;
    read = std::string(got.data(), got.size());
}

}  // namespace

TEST_SUITE("sim/record way") {
    TEST_CASE("a record passes the steps that README lists, in their order") {
        std::vector<std::string> listed = steps_in_readme();
        REQUIRE(listed.size() > 5);
        for (std::uint64_t seed = 1; seed <= 10; ++seed) {
            CAPTURE(seed);
            recorder heard;
            std::string read;
            sim::world world(seed);
            host_options options;
            options.name = "broker";
            options.shards = 2;
            options.probes = &heard;
            auto& server = world.add_host(options);
            auto& client = world.add_host("client", 1);
            const net::address at = net::address::from(server.at(9092));
            broker_options settings;
            settings.listen = at;
            settings.serve_admin = false;
            settings.data_directory = "/data";
            server.start([&](host& on) { return run_broker(on, settings, [](const auto&) {}); });
            client.start([&](host&) { return run_client(at, heard, read); });
            REQUIRE(world.run_until([&] { return client.exited(); }, 60s));
            CHECK(client.failure() == "");
            CHECK(read == "over the weir");
            // The fetch comes in a frame of its own, which README does not list again.
            auto& steps = heard.steps;
            const auto answer = std::find(steps.begin(), steps.end(), "answer");
            REQUIRE(steps.end() - answer > 3);
            CHECK(answer[1] == "frame");
            CHECK(answer[2] == "dispatch");
            steps.erase(answer + 1, answer + 3);
            CHECK(steps == listed);
        }
    }
}
