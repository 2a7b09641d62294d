// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/list_offsets.hh>

#include <algorithm>
#include <utility>
#include <vector>

#include <broker/server/broker.hh>
#include <broker/server/by_shard.hh>
#include <broker/server/decode.hh>
#include <broker/server/dispatch.hh>

#include <weir/core/coroutine.hh>

namespace weir::broker {

namespace {

using protocol::error_code;
using protocol::list_offsets_request;
using part = protocol::list_offsets_response::partition;

/// One partition of a request.
struct entry {
    std::string_view topic;  // in the frame
    const list_offsets_request::partition* wanted;
    part found{};
};

// On the partition's shard.
future<part> look_up(broker& owner, std::string_view topic, std::int32_t index,
                     std::int64_t timestamp) {
    log* const of = owner.find(topic, index);
    if (of == nullptr) {
        co_return part{index, owner.code_of_missing(topic, index)};
    }
    if (timestamp == list_offsets_request::latest) {
        co_return part{index, error_code::none, -1, of->end_offset()};
    }
    if (timestamp == list_offsets_request::earliest) {
        co_return part{index, error_code::none, -1, of->start_offset()};
    }
    if (timestamp < 0) {
        // Words of later versions: who asks in this one must not get a number for them.
        co_return part{index, error_code::unsupported_version};
    }
    const auto at =
        co_await of->find_timestamp(timestamp, owner.options().opened_bytes_max, &owner.openings());
    // Nothing so young: no offset, and no error.
    co_return at ? part{index, error_code::none, at->timestamp, at->offset}
                 : part{index, error_code::none, -1, -1};
}

// On the shard of these partitions: one after the other, so that a request reads a piece at a time.
// Each has its own end.
future<std::vector<numbered<part>>> look_up_all(broker& owner, const std::vector<entry>& entries,
                                                entry_numbers which) {
    std::vector<numbered<part>> found;
    found.reserve(which.size());
    for (const std::uint32_t number : which) {
        const entry& of = entries[number];
        const std::int32_t index = of.wanted->partition_index;
        future<part> one =
            futurize([&] { return look_up(owner, of.topic, index, of.wanted->timestamp); });
        co_await settled(one);
        found.push_back(
            {number, one.failed() ? part{index, owner.code_of(one.take_failure())} : one.take()});
        co_await maybe_yield();
    }
    co_return found;
}

/// Turns to look up times: the connection's, then one of the shard's.
struct look_up_turn {
    semaphore_units connection;
    semaphore_units shard;
};

// Waited for here, not where the partitions are: one turn is for all of them. A connection stands
// in the shard's line once, however much it asks. fails    with the reason of `asked.from.ended`
future<look_up_turn> take_turn(broker& here, request& asked, const std::vector<entry>& entries) {
    look_up_turn turn;
    const bool by_time = std::any_of(entries.begin(), entries.end(),
                                     [](const entry& each) { return each.wanted->timestamp >= 0; });
    if (by_time) {
        turn.connection = co_await asked.from.look_ups.acquire(1, asked.from.ended);
        turn.shard = co_await here.look_ups().acquire(1, asked.from.ended);
    }
    co_return turn;
}

/// A partition that is named twice is an error of its own, as in Kafka.
future<std::vector<entry>> list_entries(const list_offsets_request& body,
                                        entries_by_shard& by_shard) {
    std::vector<entry> entries;
    co_await each_once(
        body.topics,
        [&entries](std::string_view topic, const auto& wanted) {
            entries.push_back({topic, &wanted, {wanted.partition_index}});
        },
        [&entries](std::uint32_t number, const auto&) {
            entries[number].found.error = error_code::invalid_request;
        });
    by_shard.resize(this_host().shard_count());
    for (std::uint32_t number = 0; number < entries.size(); ++number) {
        entry& of = entries[number];
        if (body.replica_id >= 0) {
            of.found.error = error_code::not_leader_or_follower;
        } else if (of.found.error == error_code::none) {
            by_shard[owner_of(of.topic, of.wanted->partition_index, this_host().shard_count())]
                .push_back(number);
        }
        co_await maybe_yield();
    }
    co_return entries;
}

}  // namespace

// next: look_up() above, on the shard of each partition
future<answer> list_offsets(broker& here, request& asked) {
    semaphore_units own = co_await here.admit(asked, request_bytes(asked));
    const auto body = decode_body<list_offsets_request>(asked);
    entries_by_shard by_shard;
    std::vector<entry> entries = co_await list_entries(body, by_shard);
    look_up_turn turn = co_await take_turn(here, asked, entries);
    co_await on_shards_of(
        here, by_shard,
        [&entries](broker& owner, entry_numbers which) {
            return look_up_all(owner, entries, which);
        },
        [&entries](std::uint32_t number, const part& found) { entries[number].found = found; });
    turn = {};
    protocol::list_offsets_response response;
    for (const entry& each : entries) {
        partitions_in(response.topics, each.topic).push_back(each.found);
        co_await maybe_yield();
    }
    co_return make_answer(asked, response, std::move(own));
}

}  // namespace weir::broker
