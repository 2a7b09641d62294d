// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <set>
#include <string>

#include <broker/protocol/batch.hh>
#include <broker/protocol/message.hh>
#include <broker/protocol/messages.hh>
#include <broker/protocol/printer.hh>
#include <broker/protocol/record.hh>
#include <broker/protocol/record_check.hh>
#include <doctest/doctest.h>

#include "bytes.hh"
#include "golden.hh"

namespace weir::broker::protocol {

namespace {

/// Decodes a body as Message, and checks that it encodes to the same bytes.
template <class Message>
Message same_again(byte_view body, std::int16_t version, const char* source) {
    reader in(body);
    Message m;
    CHECK_MESSAGE(decode(in, version, m), source, ": ", name(Message::key), " v", version,
                  " fails at ", in.failed_field());
    writer out;
    encode(out, version, m);
    CHECK_MESSAGE(to_hex(std::move(out).finish().flat()) == to_hex(body), source, ": ",
                  print(m, version));
    return m;
}

template <class Function>
void with_exchange(api_key key, Function f) {
    bool found = false;
    for_each_exchange([&]<class Exchange>(Exchange exchange) {
        if (Exchange::request::key == key) {
            found = true;
            f(exchange);
        }
    });
    CHECK(found);
}

struct captured {
    std::vector<std::byte> bytes;
    request_header header;
    byte_view body;
};

captured header_of(const golden& sent) {
    captured found{from_hex(sent.hex), {}, {}};
    reader in(found.bytes);
    found.header = decode_header(in);
    CHECK(in.ok());
    CHECK(found.header.key == api_key{sent.key});
    CHECK(found.header.version == sent.version);
    found.body = byte_view(found.bytes).last(in.remaining());
    return found;
}

}  // namespace

TEST_SUITE("broker/protocol/golden") {
    TEST_CASE("what real clients send decodes, and encodes to the same bytes") {
        for (const golden& sent : golden_requests) {
            const captured found = header_of(sent);
            CHECK(find_api(found.header.key)->served.contains(found.header.version));
            writer out;
            encode_header(out, found.header);
            CHECK(to_hex(std::move(out).finish().flat()) + to_hex(found.body) == sent.hex);
            with_exchange(found.header.key, [&]<class Exchange>(Exchange) {
                same_again<typename Exchange::request>(found.body, sent.version, sent.source);
            });
        }
    }

    TEST_CASE("requests and responses of every version agree with python3-kafka's encoder") {
        const auto check = [](const golden& row, auto of_exchange) {
            const auto body = from_hex(row.hex);
            with_exchange(api_key{row.key}, [&]<class Exchange>(Exchange exchange) {
                same_again<typename decltype(of_exchange(exchange))::type>(body, row.version,
                                                                           row.source);
            });
        };
        for (const golden& row : golden_request_bodies) {
            check(row, []<class E>(E) { return std::type_identity<typename E::request>{}; });
        }
        for (const golden& row : golden_response_bodies) {
            check(row, []<class E>(E) { return std::type_identity<typename E::response>{}; });
        }
    }

    TEST_CASE("every version in the table has a golden request and response") {
        std::set<std::pair<int, int>> requests;
        std::set<std::pair<int, int>> responses;
        for (const golden& row : golden_requests) {
            requests.emplace(row.key, row.version);
        }
        for (const golden& row : golden_request_bodies) {
            requests.emplace(row.key, row.version);
        }
        for (const golden& row : golden_response_bodies) {
            responses.emplace(row.key, row.version);
        }
        responses.emplace(18, 3);  // python3-kafka stops at 2: see the next case
        for (const api& known : apis) {
            for (int version = known.advertised.first; version <= known.advertised.last;
                 ++version) {
                CHECK(requests.count({static_cast<int>(known.key), version}) == 1);
                CHECK(responses.count({static_cast<int>(known.key), version}) == 1);
            }
        }
    }

    TEST_CASE("ApiVersions 3 answers in compact form behind a classic header") {
        api_versions_response response;
        response.api_keys = {{api_key::produce, 0, 7}, {api_key::fetch, 4, 11}};
        // KIP-482: count + 1, no tags in each row, throttle, no tags at the end.
        CHECK(to_hex(response_frame(response, 3, 1).flat()) ==
              "0000001a"
              "00000001"
              "0000"
              "03"
              "000000000007"
              "00"
              "00010004000b"
              "00"
              "00000000"
              "00");
    }

    TEST_CASE("fields have the values that were sent") {
        for (const golden& row : golden_request_bodies) {
            const auto body = from_hex(row.hex);
            reader in(body);
            if (row.key == 1 && row.version == 11) {
                fetch_request m;
                REQUIRE(decode(in, 11, m));
                CHECK(print(m, 11) ==
                      "{replica_id: -1, max_wait_ms: 500, min_bytes: 1, max_bytes: 65536, "
                      "isolation_level: 1, session_id: 11, session_epoch: 12, topics: [{name: "
                      "\"golden\", partitions: [{partition_index: 3, current_leader_epoch: 9, "
                      "fetch_offset: 77, log_start_offset: 5, partition_max_bytes: 4096}]}], "
                      "forgotten_topics: [], rack_id: \"rack\"}");
            }
            if (row.key == 2 && row.version == 2) {
                list_offsets_request m;
                REQUIRE(decode(in, 2, m));
                CHECK(print(m, 2) ==
                      "{replica_id: -1, isolation_level: 1, topics: [{name: \"golden\", "
                      "partitions: [{partition_index: 3, timestamp: -2}]}]}");
            }
        }
    }

    TEST_CASE("batches of real producers pass the check, in every codec") {
        std::set<codec> codecs;
        int batches = 0;
        for (const golden& sent : golden_requests) {
            if (sent.key != static_cast<short>(api_key::produce)) {
                continue;
            }
            const captured found = header_of(sent);
            const auto request = same_again<produce_request>(found.body, sent.version, sent.source);
            const byte_view payload = request.topics.at(0).partitions.at(0).records.value().bytes;
            const batch_fault fault = check_produced(payload, sent.version);
            CHECK_MESSAGE(fault.ok(), sent.source, ": ", fault.reason);
            const batch_view batch(payload);
            const record_check looked_at =
                check_records(batch, {1 << 20, 100}, std::numeric_limits<std::int64_t>::max());
            CHECK_MESSAGE(looked_at.fault.ok(), sent.source, ": ", looked_at.fault.reason);
            CHECK(looked_at.max_timestamp == batch.max_timestamp());
            codecs.insert(batch.codec().value());
            ++batches;
            if (batch.codec() == codec::none) {
                record_walk walk(batch);
                const auto first = walk.next();
                REQUIRE(first.has_value());
                CHECK(to_hex(first->value.value()) == to_hex(as_bytes("hello")));
                CHECK_FALSE(walk.next().has_value());
                CHECK_FALSE(walk.failed());
            }
        }
        CHECK(codecs.size() == 5);
        CHECK(batches == 6);
    }

    TEST_CASE("our builder writes the batch that python3-kafka writes") {
        for (const golden& sent : golden_requests) {
            if (std::string(sent.source) != "python3-kafka KafkaProducer" || sent.key != 0) {
                continue;
            }
            const captured found = header_of(sent);
            const auto request = same_again<produce_request>(found.body, sent.version, sent.source);
            const byte_view theirs = request.topics.at(0).partitions.at(0).records.value().bytes;
            batch_builder builder;
            builder.add(batch_view(theirs).base_timestamp(), as_bytes("key"), as_bytes("hello"));
            auto ours = std::move(builder).build();
            patch_leader_epoch(ours, batch_view(theirs).leader_epoch());
            CHECK(to_hex(ours) == to_hex(theirs));
        }
    }
}

}  // namespace weir::broker::protocol
