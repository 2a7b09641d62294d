// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/list_offsets.hh>

#include <utility>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>
#include <broker/server/route.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::list_offsets_request;
using part = protocol::list_offsets_response::partition;

// On the partition's shard.
future<part> look_up(broker& owner, std::string_view topic, std::int32_t index,
                     std::int64_t timestamp) {
    log* const found = owner.find(topic, index);
    if (found == nullptr) {
        return make_ready_future<part>(part{index, owner.code_of_missing(topic, index)});
    }
    switch (timestamp) {
        case list_offsets_request::latest:
            return make_ready_future<part>(part{index, error_code::none, -1, found->end_offset()});
        case list_offsets_request::earliest:
            return make_ready_future<part>(
                part{index, error_code::none, -1, found->start_offset()});
        default:
            return found->find_timestamp(timestamp).then_wrapped([&owner, index](auto looked_up) {
                if (looked_up.failed()) {
                    return part{index, owner.code_of(looked_up.take_failure())};
                }
                const auto at = looked_up.take();
                // Nothing so young: no offset, and no error.
                return at ? part{index, error_code::none, at->timestamp, at->offset}
                          : part{index, error_code::none, -1, -1};
            });
    }
}

}  // namespace

future<answer> list_offsets(broker& here, request& asked) {
    const auto body = decode_body<list_offsets_request>(asked);
    std::vector<std::vector<future<part>>> parts;
    for (const auto& topic : body.topics) {
        auto& row = parts.emplace_back();
        for (const auto& wanted : topic.partitions) {
            row.push_back(route(
                here, topic.name, wanted.partition_index,
                [name = topic.name, index = wanted.partition_index, timestamp = wanted.timestamp](
                    broker& owner) { return look_up(owner, name, index, timestamp); }));
        }
    }
    protocol::list_offsets_response response;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        auto& topic = response.topics.emplace_back();
        topic.name = body.topics[i].name;
        for (future<part>& each : parts[i]) {
            topic.partitions.push_back(co_await std::move(each));
        }
    }
    co_return make_answer(asked, response);
}

}  // namespace weir::broker
