// SPDX-License-Identifier: Apache-2.0
#include <broker/server/dispatch.hh>

#include <string_view>

#include <broker/protocol/api.hh>
#include <broker/protocol/api_versions.hh>
#include <broker/protocol/find_coordinator.hh>
#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <fmt/format.h>

#include <weir/core/error.hh>

namespace weir::broker {

namespace {

// The one API whose unknown versions are answered: from the answer a client learns what to use.
future<answer> api_versions(request& asked) {
    protocol::api_versions_request body;
    const auto* known = protocol::find_api(protocol::api_key::api_versions);
    if (known->served.contains(asked.header.version)) {
        body = decode_body<protocol::api_versions_request>(asked);
    }
    const auto [response, version] = protocol::answer_api_versions(body, asked.header.version);
    if (!body.client_software_name.empty()) {
        const auto cut = [](std::string_view said) { return said.substr(0, longest_software); };
        asked.from.software =
            fmt::format("{} {}", cut(body.client_software_name), cut(body.client_software_version));
    }
    return make_ready_future<answer>(
        answer{protocol::response_frame(response, version, asked.header.correlation_id)});
}

// There are no groups yet. librdkafka's lz4 wants this API advertised; who asks is told in a word
// that no client takes for "try again".
future<answer> find_coordinator(request& asked) {
    decode_body<protocol::find_coordinator_request>(asked);
    protocol::find_coordinator_response response;
    response.error = protocol::error_code::unsupported_version;
    response.node_id = -1;
    response.port = -1;
    return make_ready_future<answer>(make_answer(asked, response));
}

}  // namespace

future<answer> dispatch(broker& here, request& asked) {
    using protocol::api_key;
    const protocol::request_header& header = asked.header;
    const protocol::api* known = protocol::find_api(header.key);
    here.count_request(header.key);
    if (header.key == api_key::api_versions) {
        return futurize(api_versions, asked);
    }
    if (known == nullptr || !known->advertised.contains(header.version)) {
        return make_failed_future<answer>(
            error("dispatch", "an API or version that is not served", errc::malformed));
    }
    switch (header.key) {
        case api_key::produce:
            return produce(here, asked);
        case api_key::fetch:
            return fetch(here, asked);
        case api_key::list_offsets:
            return list_offsets(here, asked);
        case api_key::metadata:
            return metadata(here, asked);
        case api_key::find_coordinator:
            return futurize(find_coordinator, asked);
        case api_key::api_versions:
            break;
    }
    return make_failed_future<answer>(error("dispatch", "api", errc::malformed));
}

}  // namespace weir::broker
