// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/produce.hh>

#include <span>
#include <utility>
#include <vector>

#include <broker/protocol/batch.hh>
#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>
#include <broker/server/route.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using part = protocol::produce_response::partition;

// On the partition's shard: checks the batch and appends it, from the frame and into it: the frame
// is the request's own, and lives until all of its parts are answered.
// next: storage/log.cc append()
future<part> append(broker& owner, std::string_view topic, std::int32_t index,
                    protocol::byte_view records, std::int16_t version) {
    probe("append");
    log* const found = owner.find(topic, index);
    if (found == nullptr) {
        return make_ready_future<part>(part{index, error_code::unknown_topic_or_partition});
    }
    const protocol::batch_fault fault = protocol::check_produced(records, version);
    if (!fault.ok()) {
        owner.count_bad_batch(fault.reason);
        return make_ready_future<part>(part{index, fault.code});
    }
    const std::span<std::byte> patched(const_cast<std::byte*>(records.data()), records.size());
    return found->append_borrowed(patched).then_wrapped(
        [&owner, found, index, at = topic_partition{std::string(topic), index}](auto appended) {
            if (appended.failed()) {
                return part{index, owner.code_of(appended.take_failure())};
            }
            const append_result result = appended.take();
            owner.grown(at);
            return part{index, error_code::none, result.base_offset, result.log_append_time,
                        found->start_offset()};
        });
}

}  // namespace

// next: append() above, on the shard of each partition
future<answer> produce(broker& here, request& asked) {
    probe("produce");
    const auto body = decode_body<protocol::produce_request>(asked);
    const std::int16_t version = asked.header.version;
    error_code refusal = error_code::none;
    if (!protocol::find_api(protocol::api_key::produce)->served.contains(version)) {
        refusal = error_code::unsupported_version;
    } else if (body.acks < -1 || body.acks > 1) {
        refusal = error_code::invalid_required_acks;
    }
    // Every part is on its way before the first wait: see dispatch().
    std::vector<std::vector<future<part>>> parts;
    for (const auto& topic : body.topics) {
        auto& row = parts.emplace_back();
        for (const auto& partition : topic.partitions) {
            const protocol::byte_view records =
                partition.records ? partition.records->bytes : protocol::byte_view{};
            if (refusal != error_code::none) {
                row.push_back(make_ready_future<part>(part{partition.index, refusal}));
                continue;
            }
            row.push_back(route(
                here, topic.name, partition.index,
                [name = topic.name, index = partition.index, records, version](broker& owner) {
                    return append(owner, name, index, records, version);
                }));
        }
    }
    protocol::produce_response response;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        auto& topic = response.topics.emplace_back();
        topic.name = body.topics[i].name;
        for (std::size_t j = 0; j < parts[i].size(); ++j) {
            // All are awaited, come what may: they read from the frame.
            try {
                topic.partitions.push_back(co_await std::move(parts[i][j]));
            } catch (...) {
                topic.partitions.push_back(
                    {body.topics[i].partitions[j].index, here.code_of(std::current_exception())});
            }
        }
    }
    answer result = make_answer(asked, response);
    if (body.acks == 0) {
        // No answer was asked for; a failure can only be told by closing.
        result.silent = true;
        for (const auto& topic : response.topics) {
            for (const auto& partition : topic.partitions) {
                result.close = result.close || partition.error != error_code::none;
            }
        }
    }
    co_return result;
}

}  // namespace weir::broker
