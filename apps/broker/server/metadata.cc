// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/metadata.hh>

#include <string>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::metadata_response;

metadata_response::topic describe(const broker& here, std::string_view name,
                                  std::int32_t partitions) {
    metadata_response::topic topic;
    topic.name = name;
    for (std::int32_t index = 0; index < partitions; ++index) {
        const std::int32_t self = here.options().node_id;
        topic.partitions.push_back({error_code::none, index, self, {self}, {self}});
    }
    return topic;
}

}  // namespace

future<answer> metadata(broker& here, request& asked) {
    const auto wanted = decode_body<protocol::metadata_request>(asked);
    metadata_response response;
    response.brokers.push_back(
        {here.options().node_id, here.advertised_host(), here.advertised_port(), std::nullopt});
    response.cluster_id = here.options().cluster_id;
    response.controller_id = here.options().node_id;
    if (wanted.wants_all(asked.header.version)) {
        for (const auto& [name, partitions] : here.topics().topics()) {
            response.topics.push_back(describe(here, name, partitions));
        }
        co_return make_answer(asked, response);
    }
    for (const protocol::metadata_request::topic& topic : *wanted.topics) {
        std::optional<std::int32_t> partitions = here.topics().find(topic.name);
        error_code failure = error_code::unknown_topic_or_partition;
        if (!partitions && here.options().create_topics && wanted.allow_auto_topic_creation) {
            failure = co_await here.create_topic(std::string(topic.name));
            partitions = here.topics().find(topic.name);
        }
        if (partitions) {
            response.topics.push_back(describe(here, topic.name, *partitions));
        } else {
            response.topics.push_back({failure, topic.name, false, {}});
        }
    }
    co_return make_answer(asked, response);
}

}  // namespace weir::broker
