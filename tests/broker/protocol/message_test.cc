// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/message.hh>
#include <broker/protocol/messages.hh>
#include <broker/protocol/printer.hh>
#include <doctest/doctest.h>

#include "bytes.hh"
#include "generate.hh"

namespace weir::broker::protocol {

namespace {

/// Calls f(Message{}, version) for both directions of every API at every version that decodes.
template <class Function>
void for_each_version(Function f) {
    for_each_exchange([&]<class Exchange>(Exchange) {
        using request = typename Exchange::request;
        const version_range range = find_api(request::key)->advertised;
        for (std::int16_t version = range.first; version <= range.last; ++version) {
            f(request{}, version);
            f(typename Exchange::response{}, version);
        }
    });
}

template <class Message>
std::vector<std::byte> encoded(const Message& m, std::int16_t version) {
    writer out;
    encode(out, version, m);
    return std::move(out).finish().flat();
}

/// Uses every feature of flexible versions, which few messages of the first version do.
struct flexible_message {
    struct inner {
        std::string_view name;
        std::optional<record_span> data;
        std::optional<std::string_view> note;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("name", m.name);
            v.field("data", m.data, {.since = 2});
            v.tagged(0, "note", m.note);
        }
        bool operator==(const inner&) const = default;
    };
    std::optional<std::vector<inner>> inners;
    std::vector<std::int64_t> numbers;
    std::string_view classic;
    std::int64_t epoch = -1;
    std::vector<inner> tagged_inners;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("inners", m.inners);
        v.field("numbers", m.numbers, {.until = 1});
        v.field("classic", m.classic, {.always_classic = true});
        v.tagged(3, "epoch", m.epoch, -1);
        v.tagged(200, "tagged_inners", m.tagged_inners, {}, {.since = 1});
    }
    bool operator==(const flexible_message&) const = default;
};

std::vector<std::byte> encoded_flexible(const flexible_message& m, std::int16_t version) {
    writer out;
    encoder(out, version, form::compact).message(m);
    return std::move(out).finish().flat();
}

bool decode_flexible(byte_view bytes, flexible_message& m, std::int16_t version = 2) {
    reader in(bytes);
    decoder(in, version, form::compact).message(m);
    return in.ok() && in.remaining() == 0;
}

}  // namespace

TEST_SUITE("broker/protocol/message") {
    TEST_CASE("every message of every version comes back as it was sent") {
        for_each_version([]<class Message>(const Message&, std::int16_t version) {
            for (std::uint64_t seed = 0; seed < 200; ++seed) {
                generator random(seed);
                const auto sent = random.make<Message>(version);
                const auto bytes = encoded(sent, version);
                reader in(bytes);
                Message got;
                REQUIRE_MESSAGE(decode(in, version, got), name(Message::key), " v", version,
                                " seed ", seed, " fails at ", in.failed_field());
                CHECK_MESSAGE(got == sent, name(Message::key), " v", version, " seed ", seed);
                CHECK(encoded(got, version) == bytes);
                CHECK(print(got, version) == print(sent, version));
            }
        });
    }

    TEST_CASE("every truncation fails, and names a field") {
        for_each_version([]<class Message>(const Message&, std::int16_t version) {
            for (std::uint64_t seed = 0; seed < 20; ++seed) {
                generator random(seed);
                const auto bytes = encoded(random.make<Message>(version), version);
                for (std::size_t size = 0; size < bytes.size(); ++size) {
                    const std::vector<std::byte> cut(
                        bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
                    reader in(cut);
                    Message got;
                    CHECK_FALSE(decode(in, version, got));
                    CHECK_FALSE(in.failed_field().empty());
                }
            }
        });
    }

    TEST_CASE("every changed byte decodes or fails, and what decodes encodes again") {
        for_each_version([]<class Message>(const Message&, std::int16_t version) {
            generator random(7);
            auto bytes = encoded(random.make<Message>(version), version);
            bytes.resize(std::min<std::size_t>(bytes.size(), 1000));
            for (std::byte& byte : bytes) {
                const std::byte original = byte;
                for (const int change : {0x01, 0x80, 0xff, 0x7f}) {
                    byte = original ^ static_cast<std::byte>(change);
                    reader in(bytes);
                    Message got;
                    if (decode(in, version, got)) {
                        CHECK(encoded(got, version).size() <= bytes.size());
                    }
                }
                byte = original;
            }
        });
    }

    TEST_CASE("trailing bytes fail") {
        const auto bytes = from_hex("000000");
        reader in(bytes);
        find_coordinator_request request;
        CHECK_FALSE(decode(in, 0, request));
        CHECK(in.failed_field() == "trailing bytes");
    }

    TEST_CASE("an array that lies about its count allocates nothing") {
        const auto bytes = from_hex("7fffffff0001610002");
        reader in(bytes);
        metadata_request request;
        CHECK_FALSE(decode(in, 1, request));
        CHECK(in.failed_field() == "topics");
        CHECK_FALSE(request.topics.has_value());

        // Three topics of at least 6 bytes can't fit in the 17 that remain.
        const auto produce = from_hex(
            "ffff"
            "0001"
            "000003e8"
            "00000003"
            "0001610000000000016200000000000162");
        reader second(produce);
        produce_request lying;
        CHECK_FALSE(decode(second, 3, lying));
        CHECK(second.failed_field() == "topics");
        CHECK(lying.topics.capacity() == 0);
    }

    TEST_CASE("decoded requests take at most eight times the frame's memory") {
        // The bound that lets a server account for a request by the length of its frame.
        const auto ratio_holds = []<class Element>(const Element&, std::int16_t version) {
            return sizeof(Element) <= 8 * smallest<Element>(version, form::classic);
        };
        CHECK(ratio_holds(produce_request::topic{}, 3));
        CHECK(ratio_holds(produce_request::partition{}, 3));
        CHECK(ratio_holds(fetch_request::topic{}, 4));
        CHECK(ratio_holds(fetch_request::partition{}, 4));
        CHECK(ratio_holds(fetch_request::forgotten_topic{}, 7));
        CHECK(ratio_holds(list_offsets_request::topic{}, 1));
        CHECK(ratio_holds(list_offsets_request::partition{}, 1));
        CHECK(ratio_holds(metadata_request::topic{}, 0));
    }

    TEST_CASE("a null where the version has none fails, and is written as empty") {
        const auto null_topics = from_hex("ffffffff");
        reader in(null_topics);
        metadata_request request;
        CHECK_FALSE(decode(in, 0, request));
        CHECK(to_hex(encoded(metadata_request{}, 0)) == "00000000");
        CHECK(to_hex(encoded(metadata_request{}, 1)) == "ffffffff");
    }

    TEST_CASE("metadata asks for all topics by empty in version 0, by null later") {
        metadata_request request;
        CHECK(request.wants_all(0));
        CHECK(request.wants_all(1));
        request.topics.emplace();
        CHECK(request.wants_all(0));
        CHECK_FALSE(request.wants_all(1));
    }

    TEST_CASE("flexible fields come back: compact, nullable, tagged, nested") {
        for (std::int16_t version = 0; version <= 3; ++version) {
            for (std::uint64_t seed = 0; seed < 500; ++seed) {
                generator random(seed);
                const auto sent = random.make<flexible_message>(version);
                const auto bytes = encoded_flexible(sent, version);
                flexible_message got;
                REQUIRE_MESSAGE(decode_flexible(bytes, got, version), "seed ", seed);
                CHECK_MESSAGE(got == sent, "seed ", seed);
                for (std::size_t size = 0; size < bytes.size(); ++size) {
                    flexible_message ignored;
                    CHECK_FALSE(decode_flexible(byte_view(bytes).first(size), ignored, version));
                }
            }
        }
    }

    TEST_CASE("a default tagged field is not sent; unknown tags are skipped") {
        flexible_message got;
        CHECK(to_hex(encoded_flexible({}, 2)) ==
              "00"
              "0000"
              "00");
        // No inners, empty string, two tags: 3 (epoch 5), 9 (unknown, two bytes).
        CHECK(decode_flexible(from_hex("00"
                                       "0000"
                                       "02"
                                       "03080000000000000005"
                                       "0902aabb"),
                              got));
        CHECK(got.epoch == 5);
    }

    TEST_CASE("tags out of order, doubled, too long or not used up fail") {
        flexible_message got;
        for (const char* hex : {
                 "00"
                 "0000"
                 "02"
                 "0900"
                 "0900",  // doubled
                 "00"
                 "0000"
                 "02"
                 "0900"
                 "0300",  // out of order
                 "00"
                 "0000"
                 "01"
                 "0903aabb",  // longer than the frame
                 "00"
                 "0000"
                 "01"
                 "03090000000000000005"
                 "00",  // a byte more than an int64
                 "00"
                 "0000"
                 "01"
                 "030400000005",  // four bytes fewer
                 "00"
                 "0000"
                 "ffffffff0f",  // four billion tags
             }) {
            CHECK_FALSE_MESSAGE(decode_flexible(from_hex(hex), got), hex);
        }
    }

    TEST_CASE("headers: request 1 and 2, response 0 and 1, and always 0 for ApiVersions") {
        CHECK(request_header_version(api_key::metadata, 4) == 1);
        CHECK(request_header_version(api_key::metadata, 9) == 2);
        CHECK(request_header_version(api_key::api_versions, 2) == 1);
        CHECK(request_header_version(api_key::api_versions, 3) == 2);
        CHECK(response_header_version(api_key::metadata, 8) == 0);
        CHECK(response_header_version(api_key::metadata, 9) == 1);
        CHECK(response_header_version(api_key::api_versions, 3) == 0);
        CHECK(response_header_version(api_key::api_versions, 4) == 0);
    }

    TEST_CASE("a flexible request header keeps its client id classic, and has tags") {
        writer out;
        encode_header(out, request_header{api_key::api_versions, 3, 5, "me"});
        const auto bytes = std::move(out).finish().flat();
        CHECK(to_hex(bytes) ==
              "0012"
              "0003"
              "00000005"
              "00026d65"
              "00");
        reader in(bytes);
        CHECK(decode_header(in) == request_header{api_key::api_versions, 3, 5, "me"});
        CHECK(in.remaining() == 0);
    }

    TEST_CASE("a header of an unknown API decodes, for whoever logs it") {
        const auto bytes = from_hex(
            "0063"
            "0007"
            "00000005"
            "ffff"
            "aabb");
        reader in(bytes);
        const auto header = decode_header(in);
        CHECK(in.ok());
        CHECK(find_api(header.key) == nullptr);
        CHECK(header.version == 7);
        CHECK_FALSE(header.client_id.has_value());
    }

    TEST_CASE("frames count their own length and join header and body") {
        const auto bytes = request_frame(find_coordinator_request{"g"}, 0, 9, "c").flat();
        CHECK(to_hex(bytes) ==
              "0000000e"
              "000a"
              "0000"
              "00000009"
              "000163"
              "000167");
        const auto answer =
            response_frame(find_coordinator_response{error_code::none, 1, "h", 9092}, 0, 9);
        CHECK(to_hex(answer.flat()) ==
              "00000011"
              "00000009"
              "0000"
              "00000001"
              "000168"
              "00002384");
    }

    TEST_CASE("fetched records are sent from where they lie") {
        const std::vector<std::byte> batch(5000, std::byte{3});
        fetch_response response;
        response.topics = {{"t", {{.partition_index = 1, .records = record_span{batch}}}}};
        const frame sent = response_frame(response, 11, 1);
        const auto pieces = sent.pieces();
        REQUIRE(pieces.size() == 2);
        CHECK(pieces[1].data() == batch.data());
        const auto bytes = sent.flat();
        reader in(byte_view(bytes).subspan(4));
        CHECK(decode_header(in, api_key::fetch, 11).correlation_id == 1);
        fetch_response got;
        CHECK(decode(in, 11, got));
        CHECK(got == response);
    }

    TEST_CASE("the table is in order, and serves within what it advertises") {
        const api* previous = nullptr;
        int rows = 0;
        for (const api& known : apis) {
            CHECK((previous == nullptr || previous->key < known.key));
            CHECK(known.advertised.contains(known.served.first));
            CHECK(known.advertised.contains(known.served.last));
            previous = &known;
            ++rows;
        }
        int exchanges = 0;
        for_each_exchange([&]<class Exchange>(Exchange) {
            CHECK(find_api(Exchange::request::key) != nullptr);
            ++exchanges;
        });
        CHECK(rows == exchanges);
    }

    TEST_CASE("librdkafka finds the versions at which it switches features on") {
        const auto overlaps = [](api_key key, std::int16_t version) {
            return find_api(key)->advertised.contains(version);
        };
        CHECK(overlaps(api_key::produce, 0));           // any compression
        CHECK(overlaps(api_key::produce, 3));           // magic 2
        CHECK(overlaps(api_key::fetch, 4));             // magic 2
        CHECK(overlaps(api_key::produce, 7));           // zstd
        CHECK(overlaps(api_key::fetch, 10));            // zstd
        CHECK(overlaps(api_key::find_coordinator, 0));  // lz4
        CHECK(overlaps(api_key::list_offsets, 1));      // offsets by time
        CHECK(overlaps(api_key::api_versions, 0));
    }

    TEST_CASE("ApiVersions answers every version, and names must follow the pattern") {
        const auto plain = answer_api_versions({}, 0);
        CHECK(plain.body.error == error_code::none);
        CHECK(plain.body.api_keys.size() == std::size(apis));
        const auto future = answer_api_versions({}, 4);
        CHECK(future.version == 0);
        CHECK(future.body.error == error_code::unsupported_version);
        // Of the others nothing is said, as Kafka does: the client asks again in this one's range.
        REQUIRE(future.body.api_keys.size() == 1);
        CHECK(future.body.api_keys[0].key == api_key::api_versions);
        CHECK(answer_api_versions({"librdkafka", "2.0.2"}, 3).body.error == error_code::none);
        for (const api_versions_request& bad :
             {api_versions_request{"", "1"}, {"a", ""}, {"-a", "1"}, {"a", "1."}, {"a b", "1"}}) {
            const auto refused = answer_api_versions(bad, 3);
            CHECK(refused.body.error == error_code::invalid_request);
            CHECK(refused.version == 3);
        }
    }

    TEST_CASE("messages print for people, and can't forge a log line") {
        metadata_request request;
        request.topics = {{"a\n\"b"}};
        CHECK(print(request, 1) == "{topics: [{name: \"a\\x0a\\x22b\"}]}");
        CHECK(print(request, 4) ==
              "{topics: [{name: \"a\\x0a\\x22b\"}], allow_auto_topic_creation: true}");
        CHECK(print(metadata_request{}, 1) == "{topics: null}");
        produce_request produce;
        produce.topics = {{"t", {{.index = 2, .records = record_span{as_bytes("abc")}}}}};
        CHECK(print(produce, 3) ==
              "{transactional_id: null, acks: 0, timeout_ms: 0, topics: [{name: \"t\", "
              "partitions: [{index: 2, records: <3 bytes>}]}]}");
    }

    TEST_CASE("error codes have Kafka's names") {
        CHECK(name(error_code::none) == "none");
        CHECK(name(error_code::unsupported_version) == "unsupported_version");
        CHECK(static_cast<int>(error_code::corrupt_message) == 2);
        CHECK(name(error_code{9999}) == "?");
    }
}

}  // namespace weir::broker::protocol
