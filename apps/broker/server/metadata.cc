// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/metadata.hh>

#include <set>
#include <string>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::metadata_request;
using protocol::metadata_response;

// What a partition takes of memory until the answer is sent.
constexpr std::size_t bytes_per_partition = 320;

struct described {
    std::string_view name;
    std::int32_t partitions;
    error_code failure = error_code::none;
};

/// The topics that are asked for, each once; those that are missing are made, if they may be.
future<std::vector<described>> find_topics(broker& here, const request& asked,
                                           const metadata_request& wanted) {
    std::vector<described> found;
    if (wanted.wants_all(asked.header.version)) {
        for (const auto& [name, partitions] : here.topics().topics()) {
            found.push_back({name, partitions});
        }
        co_return found;
    }
    std::set<std::string_view> known;
    for (const metadata_request::topic& topic : *wanted.topics) {
        co_await maybe_yield();
        if (!known.insert(topic.name).second) {
            continue;
        }
        std::optional<std::int32_t> partitions = here.topics().find(topic.name);
        error_code failure = is_topic_name(topic.name) ? error_code::unknown_topic_or_partition
                                                       : error_code::invalid_topic_exception;
        const bool may_make = here.options().create_topics && wanted.allow_auto_topic_creation &&
                              !asked.from.ended.requested();
        if (!partitions && may_make) {
            failure = co_await here.create_topic(std::string(topic.name));
            partitions = here.topics().find(topic.name);
        }
        found.push_back(
            {topic.name, partitions.value_or(0), partitions ? error_code::none : failure});
    }
    co_return found;
}

}  // namespace

namespace {

std::size_t bytes_of_partitions(const std::vector<described>& topics) {
    std::size_t partitions = 0;
    for (const described& each : topics) {
        partitions += static_cast<std::size_t>(each.partitions);
    }
    return partitions * bytes_per_partition;
}

future<metadata_response> describe(broker& here, const std::vector<described>& topics) {
    metadata_response response;
    const std::int32_t self = here.options().node_id;
    response.brokers.push_back(
        {self, here.advertised_host(), here.advertised_port(), std::nullopt});
    response.cluster_id = here.options().cluster_id;
    response.controller_id = self;
    response.topics.reserve(topics.size());
    for (const described& each : topics) {
        metadata_response::topic& topic = response.topics.emplace_back(
            metadata_response::topic{each.failure, each.name, false, {}});
        topic.partitions.reserve(static_cast<std::size_t>(each.partitions));
        for (std::int32_t index = 0; index < each.partitions; ++index) {
            topic.partitions.push_back({error_code::none, index, self, {self}, {self}});
            co_await maybe_yield();
        }
    }
    co_return response;
}

}  // namespace

// What the answer takes is known when the topics are. If that can't be had at once, what the
// request holds goes back, and it waits for all of it together: nobody who waits for this memory
// holds a part of it.
future<answer> metadata(broker& here, request& asked) {
    const std::size_t least = request_bytes(asked);
    const protocol::reader unread = asked.body;
    for (std::size_t wanted = least;;) {
        semaphore_units own = co_await here.admit(asked, wanted);
        asked.body = unread;
        const auto body = decode_body<metadata_request>(asked);
        const std::vector<described> topics = co_await find_topics(here, asked, body);
        const std::size_t needed = least + bytes_of_partitions(topics);
        semaphore_units more;
        if (needed > wanted) {
            more = here.try_admit(asked, needed - wanted);
            if (!more) {
                wanted = needed;
                continue;
            }
        }
        const metadata_response response = co_await describe(here, topics);
        answer result = make_answer(asked, response, std::move(own));
        result.memory = std::move(more);
        co_return result;
    }
}

}  // namespace weir::broker
