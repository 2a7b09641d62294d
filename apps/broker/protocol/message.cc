// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/message.hh>

namespace weir::broker::protocol {

namespace {

/// A header's fields are there whatever version of its API it names, one below 0 as well.
constexpr std::int16_t every_version = 0;

form header_form(std::int16_t header_version, std::int16_t flexible_from) {
    return header_version >= flexible_from ? form::compact : form::classic;
}

form request_form(api_key key, std::int16_t version) {
    return header_form(request_header_version(key, version), 2);
}

form response_form(api_key key, std::int16_t version) {
    return header_form(response_header_version(key, version), 1);
}

}  // namespace

request_header decode_header(reader& in) {
    reader peek = in;
    const auto key = api_key{peek.integer<std::int16_t>("api_key")};
    const auto version = peek.integer<std::int16_t>("api_version");
    request_header header;
    decoder(in, every_version, request_form(key, version)).message(header);
    return header;
}

response_header decode_header(reader& in, api_key key, std::int16_t version) {
    response_header header;
    decoder(in, every_version, response_form(key, version)).message(header);
    return header;
}

void encode_header(writer& out, const request_header& header) {
    encoder(out, every_version, request_form(header.key, header.version)).message(header);
}

void encode_header(writer& out, const response_header& header, api_key key, std::int16_t version) {
    encoder(out, every_version, response_form(key, version)).message(header);
}

}  // namespace weir::broker::protocol
