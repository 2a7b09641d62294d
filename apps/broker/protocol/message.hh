// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string_view>

#include <broker/protocol/api.hh>
#include <broker/protocol/decoder.hh>
#include <broker/protocol/encoder.hh>

namespace weir::broker::protocol {

/// What stands before every request. Its own version, 1 or 2, follows from the API's.
struct request_header {
    api_key key{};
    std::int16_t version = 0;
    std::int32_t correlation_id = 0;
    std::optional<std::string_view> client_id;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("api_key", m.key);
        v.field("api_version", m.version);
        v.field("correlation_id", m.correlation_id);
        v.field("client_id", m.client_id, {.always_classic = true});
    }
    bool operator==(const request_header&) const = default;
};

struct response_header {
    std::int32_t correlation_id = 0;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("correlation_id", m.correlation_id);
    }
    bool operator==(const response_header&) const = default;
};

/// Reads the header of a request frame (without its length). An API or version that is not in
/// the table is no failure here: the caller decides whether to answer or to close.
request_header decode_header(reader& in);
response_header decode_header(reader& in, api_key key, std::int16_t version);

/// Reads the body of a message; further bytes may follow.
/// returns  whether it decoded; otherwise in.failed_field() says where
template <class Message>
bool decode_some(reader& in, std::int16_t version, Message& m) {
    decoder(in, version, body_form(Message::key, version)).message(m);
    return in.ok();
}

/// Reads the rest of the frame as the body of a message.
/// returns  whether it decoded and nothing is left; otherwise in.failed_field() says where
template <class Message>
bool decode(reader& in, std::int16_t version, Message& m) {
    decode_some(in, version, m);
    if (in.remaining() != 0) {
        in.fail("trailing bytes");
    }
    return in.ok();
}

template <class Message>
void encode(writer& out, std::int16_t version, const Message& m) {
    encoder(out, version, body_form(Message::key, version)).message(m);
}

void encode_header(writer& out, const request_header& header);
void encode_header(writer& out, const response_header& header, api_key key, std::int16_t version);

/// A whole request frame, length included. Record bytes in `m` are borrowed.
template <class Request>
frame request_frame(const Request& m, std::int16_t version, std::int32_t correlation_id,
                    std::optional<std::string_view> client_id) {
    writer out;
    out.open_frame();
    encode_header(out, request_header{Request::key, version, correlation_id, client_id});
    encode(out, version, m);
    return std::move(out).close_frame();
}

/// A whole response frame, length included. Record bytes in `m` are borrowed.
template <class Response>
frame response_frame(const Response& m, std::int16_t version, std::int32_t correlation_id) {
    writer out;
    out.open_frame();
    encode_header(out, response_header{correlation_id}, Response::key, version);
    encode(out, version, m);
    return std::move(out).close_frame();
}

}  // namespace weir::broker::protocol
