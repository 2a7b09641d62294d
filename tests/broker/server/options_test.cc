// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <limits>
#include <string>
#include <vector>

#include <broker/server/answer_memory.hh>
#include <broker/server/options.hh>
#include <broker/server/request_times.hh>
#include <doctest/doctest.h>

#include <weir/core/error.hh>

namespace weir::broker {

namespace {

constexpr std::uint64_t mib = std::uint64_t{1} << 20;

template <typename Fn>
std::string refusal(Fn fn) {
    try {
        fn();
    } catch (const error& e) {
        return e.what();
    }
    return "";
}

}  // namespace

TEST_SUITE("broker/server/options") {
    TEST_CASE("budgets fit the memory from 64 MiB on, and hold together") {
        for (const std::uint64_t memory :
             {64 * mib, 100 * mib, 512 * mib, 4096 * mib, 65536 * mib}) {
            for (const unsigned shards : {1U, 2U}) {
                CAPTURE(memory / mib);
                CAPTURE(shards);
                broker_options options;
                options.fit_to_memory(memory, shards);
                CHECK(options.memory_needed(shards) <= memory);
                CHECK(options.memory_needed(shards) >=
                      shards * options.openings_at_once * options.opened_bytes_max);
                CHECK(options.opened_bytes_max > options.storage.log.max_batch_bytes);
                options.check();
                options.check_memory(memory, shards);
                // A largest batch can be sent and fetched.
                CHECK(options.frames.frame_bytes_max > options.storage.log.max_batch_bytes);
                CHECK(options.answer_bytes_each > options.storage.log.max_batch_bytes);
                CHECK(answer_memory(options.answer_bytes).most() >
                      options.storage.log.max_batch_bytes);
                CHECK(options.elements_max >= 1'000);
                CHECK(options.look_ups_at_once >= 1);
                CHECK(options.openings_at_once >= 1);
            }
        }
    }

    TEST_CASE("connections, open logs and read files fit the descriptors, and leave some") {
        for (const std::uint64_t limit : {256U, 1024U, 4096U, 1U << 20}) {
            for (const unsigned shards : {1U, 2U}) {
                CAPTURE(limit);
                CAPTURE(shards);
                broker_options options;
                options.fit_to_descriptors(limit, shards);
                const store_options& logs = options.storage;
                CHECK(shards * (options.server.connections_max + 3 * logs.open_logs_max +
                                logs.read_files_max) <=
                      limit - std::min<std::uint64_t>(limit / 4, 64));
                CHECK(options.server.connections_max >= 48);
                CHECK(logs.open_logs_max >= 12);
                CHECK(logs.read_files_max >= 6);
            }
        }
        broker_options plenty;
        plenty.fit_to_descriptors(UINT64_MAX, 2);
        CHECK(plenty.server.connections_max == broker_options().server.connections_max);
        CHECK(plenty.storage.open_logs_max == broker_options().storage.open_logs_max);
    }

    TEST_CASE("descriptors that are too few for what was said are refused, with figures") {
        for (const std::uint64_t limit : {256U, 1024U, 4096U, 1U << 20}) {
            for (const bool tail_copy : {false, true}) {
                CAPTURE(limit);
                CAPTURE(tail_copy);
                broker_options options;
                options.storage.log.tail_copy = tail_copy;
                options.fit_to_descriptors(limit, 2);
                options.check_descriptors(limit, 2);
            }
        }
        broker_options options;
        options.fit_to_descriptors(1024, 2);
        options.storage.open_logs_max = 110;  // two each fit, three don't
        options.storage.read_files_max = 4;
        options.check_descriptors(1024, 2);
        options.storage.log.tail_copy = true;
        const std::string why = refusal([&] { options.check_descriptors(1024, 2); });
        CHECK(why.find("open-logs-max") != std::string::npos);
        CHECK(why.find("1024") != std::string::npos);
        options.storage.log.tail_copy = false;
        CHECK(!refusal([&] { options.check_descriptors(1024, 4); }).empty());
        options.storage.open_logs_max = std::numeric_limits<std::size_t>::max() / 2 + 1;
        CHECK(!refusal([&] { options.check_descriptors(UINT64_MAX - 1, 2); }).empty());
    }

    TEST_CASE("as many partitions come into being as the memory can hold") {
        broker_options options;
        options.fit_to_memory(64 * mib, 2);
        CHECK(options.partitions_max >= 1'000);
        CHECK(options.partitions_max < 4'000);
        broker_options large;
        large.fit_to_memory(1024 * mib, 2);
        CHECK(large.partitions_max == broker_options().partitions_max);
    }

    TEST_CASE("in little memory a request names less, and less is looked up and opened at once") {
        broker_options options;
        options.fit_to_memory(64 * mib, 2);
        CHECK(options.elements_max < broker_options().elements_max);
        CHECK(options.look_ups_at_once < broker_options().look_ups_at_once);
        CHECK(options.openings_at_once < broker_options().openings_at_once);
    }

    TEST_CASE("memory in which no broker lives is refused, with figures") {
        broker_options options;
        options.fit_to_memory(32 * mib, 2);
        const std::string why = refusal([&] { options.check_memory(32 * mib, 2); });
        CHECK(why.find("answer-bytes") != std::string::npos);
        CHECK(why.find("there are 32 MiB") != std::string::npos);
    }

    TEST_CASE("however large a budget is, the sum of all is not small") {
        constexpr std::size_t most = std::numeric_limits<std::size_t>::max();
        const auto refused = [](auto change) {
            broker_options options;
            change(options);
            return options.memory_needed(2) > 1024 * 1024 * mib &&
                   !refusal([&] { options.check_memory(1024 * mib, 2); }).empty();
        };
        for (const std::size_t large : {most, most - 16 * mib, most / 2 + 1}) {
            CHECK(refused([&](broker_options& of) { of.request_bytes = large; }));
            CHECK(refused([&](broker_options& of) { of.answer_bytes = large; }));
            CHECK(refused([&](broker_options& of) { of.opened_bytes_max = large; }));
            CHECK(refused([&](broker_options& of) { of.storage.recent_bytes = large; }));
            CHECK(refused([&](broker_options& of) { of.storage.read_ahead_bytes = large; }));
        }
        CHECK(refused([](broker_options& of) { of.openings_at_once = 1'000'000; }));
        CHECK(refused([](broker_options& of) { of.look_ups_at_once = 1 << 30; }));
        CHECK(
            refused([](broker_options& of) { of.server.connections_max = std::size_t{1} << 40; }));
        broker_options options;
        options.large_request_bytes = most - 1;
        options.request_bytes = most / 2;
        CHECK(refusal([&] { options.check(); }).find("large-request-bytes") != std::string::npos);
        options.request_bytes = most;
        CHECK(options.waiting_bytes(2) == most);
    }

    TEST_CASE("there is one limit of partitions, within what a data directory may list") {
        const auto why = [](std::int32_t most, std::int32_t of_a_topic) {
            broker_options options;
            options.partitions_max = most;
            options.default_partitions = of_a_topic;
            return refusal([&] { options.check(); });
        };
        CHECK(why(1, 1) == "");
        CHECK(why(1'000'000, 4) == "");
        for (const std::int32_t most : {0, -1, 1'000'001, std::numeric_limits<int>::max()}) {
            CHECK(why(most, 1).find("partitions-max") != std::string::npos);
        }
        CHECK(why(3, 4).find("more than partitions-max") != std::string::npos);
        CHECK(why(3, 0).find("none") != std::string::npos);
    }

    TEST_CASE("a request's time is counted with its API, and with no other") {
        request_times times;
        times.record(protocol::api_key::produce, std::chrono::milliseconds(3));
        times.record(protocol::api_key::produce, std::chrono::milliseconds(-3));
        times.record(static_cast<protocol::api_key>(999), std::chrono::seconds(1));
        CHECK(times.of(protocol::api_key::produce)->count() == 2);
        CHECK(times.of(protocol::api_key::produce)->maximum() == 3'000'000);
        CHECK(times.of(protocol::api_key::fetch)->count() == 0);
        CHECK(times.of(static_cast<protocol::api_key>(999)) == nullptr);
    }

    TEST_CASE("with much memory the budgets are what they are without a look at it") {
        broker_options options;
        options.fit_to_memory(1024 * 1024 * mib, 2);
        CHECK(options.request_bytes == broker_options().request_bytes);
        CHECK(options.elements_max == broker_options().elements_max);
        CHECK(options.answer_bytes == broker_options().answer_bytes);
        CHECK(options.storage.recent_bytes == broker_options().storage.recent_bytes);
    }

    TEST_CASE("no wildcard is advertised, of any family") {
        for (const char* where : {"0.0.0.0", "[::]", "[::ffff:0.0.0.0]"}) {
            broker_options options;
            options.listen = net::address::parse(where, 9092);
            CHECK(refusal([&] { options.check_addresses(); }).find("--advertise") !=
                  std::string::npos);
            options.advertised_host = "kafka.example.org";
            options.check_addresses();
            options.advertised_host = "::";
            CHECK(refusal([&] { options.check_addresses(); }).find("--advertise") !=
                  std::string::npos);
        }
        broker_options().check_addresses();
    }

    TEST_CASE("however many take of the reserve, there is something for the next") {
        answer_memory memory(std::size_t{16} << 20);
        std::vector<semaphore_units> held;
        for (int i = 0; i < 200; ++i) {
            held.push_back(memory.try_take_reserved(1, std::size_t{50} << 20));
            CHECK(held.back());
        }
        CHECK(memory.try_take_reserved(512, 512));
        CHECK_FALSE(memory.try_take_reserved(std::size_t{1} << 20, std::size_t{1} << 20));
        CHECK(memory.try_take(std::size_t{12} << 20));
    }
}

}  // namespace weir::broker
