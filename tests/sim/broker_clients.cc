// SPDX-License-Identifier: Apache-2.0
#include <sim/broker_clients.hh>

#include <algorithm>
#include <exception>

#include <broker/protocol/fetch.hh>
#include <broker/protocol/list_offsets.hh>
#include <broker/protocol/metadata.hh>
#include <broker/protocol/produce.hh>
#include <broker/protocol/record.hh>
#include <fmt/format.h>
#include <sim/broker_client.hh>

#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>

namespace weir::broker::sim_test {

using io::sim::memory::outside;
using protocol::error_code;
using namespace std::chrono_literals;

namespace {

constexpr std::int16_t metadata_version = 4;
constexpr std::int16_t produce_version = 7;
constexpr std::int16_t fetch_version = 11;
constexpr std::int16_t list_offsets_version = 2;

std::uint64_t below(std::uint64_t limit) {
    return this_shard().random() % limit;
}

future<> pause(duration longest) {
    return sleep_for(duration(below(static_cast<std::uint64_t>(longest.count()) + 1)));
}

/// The end of a session: the client connects again.
error session_over(const char* why) {
    return {"session", why, errc::closed};
}

/// Asks for the topics, which the first who asks brings into being.
future<> find_topics(workload& load, kafka_client& client) {
    protocol::metadata_request body;
    body.topics.emplace();
    for (const std::string& topic : load.topics) {
        body.topics->push_back({topic});
    }
    co_await client.send(body, metadata_version);
    const auto answer = co_await client.receive<protocol::metadata_response>();
    if (answer.body.topics.size() != load.topics.size()) {
        load.truth.violate("metadata of another number of topics");
    }
    for (const auto& topic : answer.body.topics) {
        if (topic.error != error_code::none) {
            throw session_over("metadata");
        }
        if (topic.partitions.size() != static_cast<std::size_t>(load.partitions_each)) {
            load.truth.violate("a topic has another number of partitions");
        }
    }
}

template <class State>
using session = future<> (*)(workload&, State&, kafka_client&);

/// One connection after the other, until `done(load, me)`.
template <class State>
future<> keep_connected(workload& load, State& me, session<State> body,
                        bool (*done)(const workload&, const State&)) {
    while (!done(load, me) && load.truth.violation().empty()) {
        std::unique_ptr<kafka_client> client;
        try {
            client = co_await kafka_client::connect(load.broker, load.patience);
            co_await find_topics(load, *client);
            co_await body(load, me, *client);
        } catch (const bad_answer& bad) {
            load.truth.violate(bad.what);
        } catch (const std::exception&) {
            // Lost, refused or too slow: what was on its way has an unknown fate.
        }
        if (client) {
            co_await client->close();
        }
        co_await pause(50ms);
    }
}

// Producing.

bool has_produced(const workload& load, const producer_state& me) {
    return load.finishing && me.on_the_way.empty() && me.again.empty();
}

/// What is sent next: first of all what must be sent again.
sent_batch next_batch(workload& load, producer_state& me) {
    sent_batch batch;
    if (!me.again.empty()) {
        batch = std::move(me.again.front());
        me.again.pop_front();
        for (std::uint64_t& value : batch.values) {
            value = load.truth.next_try(value);
        }
        ++load.truth.counts().retried;
        return batch;
    }
    batch.partition = static_cast<int>(below(static_cast<std::uint64_t>(load.truth.partitions())));
    batch.size = load.sizes[below(load.sizes.size())];
    for (auto left = 1 + below(load.batch_max); left > 0; --left) {
        batch.values.push_back(load.truth.fresh_value(me.number));
    }
    return batch;
}

/// Chooses a burst and remembers it before anything is sent.
void prepare_burst(workload& load, producer_state& me) {
    const auto limit = 1 + below(load.burst_max);
    const outside world;
    // What an earlier connection lost comes first.
    while (!me.on_the_way.empty()) {
        me.again.push_front(std::move(me.on_the_way.back()));
        me.on_the_way.pop_back();
    }
    while (me.on_the_way.size() < limit && !(load.finishing && me.again.empty())) {
        me.on_the_way.push_back(next_batch(load, me));
    }
}

std::vector<std::byte> encode(const sent_batch& batch) {
    protocol::batch_builder builder;
    std::vector<std::byte> value(std::max<std::size_t>(batch.size, 8), std::byte{0x5a});
    for (const std::uint64_t each : batch.values) {
        protocol::store_big(value.data(), each);
        builder.add(oracle::time_of(each), std::nullopt, value);
    }
    return std::move(builder).build();
}

future<> send_batch(workload& load, kafka_client& client, const sent_batch& batch) {
    const std::vector<std::byte> bytes = encode(batch);
    protocol::produce_request body;
    body.acks = -1;
    body.timeout_ms = 1000;
    body.topics.push_back({load.topic_of(batch.partition),
                           {{load.index_of(batch.partition), protocol::record_span{bytes}}}});
    co_await client.send(body, produce_version);
}

/// Takes the answer to the oldest batch on the way.
void take_answer(workload& load, producer_state& me, const protocol::produce_response& body,
                 std::vector<std::int64_t>& last_bases) {
    if (body.topics.size() != 1 || body.topics[0].partitions.size() != 1 ||
        load.partition_of(body.topics[0].name, body.topics[0].partitions[0].index) !=
            me.on_the_way.front().partition) {
        load.truth.violate("a produce answer that names another partition");
        return;
    }
    const auto& answer = body.topics[0].partitions[0];
    const outside world;
    sent_batch batch = std::move(me.on_the_way.front());
    me.on_the_way.pop_front();
    if (answer.error != error_code::none) {
        ++load.truth.counts().refused;
        load.truth.counts().storage_errors +=
            answer.error == error_code::kafka_storage_error ? 1 : 0;
        me.again.push_back(std::move(batch));
        if (answer.error == error_code::corrupt_message) {
            load.truth.violate("a good batch is called corrupt");
        }
        return;
    }
    auto& last = last_bases[static_cast<std::size_t>(batch.partition)];
    if (answer.base_offset <= last) {
        load.truth.violate(
            fmt::format("offset {} follows {} on one connection", answer.base_offset, last));
    }
    last = answer.base_offset;
    load.truth.acknowledged(batch.partition, answer.base_offset, batch.values);
}

future<> produce_session(workload& load, producer_state& me, kafka_client& client) {
    std::vector<std::int64_t> last_bases(static_cast<std::size_t>(load.truth.partitions()), -1);
    while (!has_produced(load, me) && load.truth.violation().empty()) {
        prepare_burst(load, me);
        const std::size_t count = me.on_the_way.size();
        for (std::size_t i = 0; i < count; ++i) {
            co_await send_batch(load, client, me.on_the_way[i]);
        }
        for (std::size_t i = 0; i < count; ++i) {
            const auto answer = co_await client.receive<protocol::produce_response>();
            take_answer(load, me, answer.body, last_bases);
        }
        co_await pause(load.pause_max);
    }
}

// Consuming.

bool all_sent(const workload& load) {
    return load.finishing &&
           std::all_of(load.producers.begin(), load.producers.end(),
                       [&](const auto& each) { return has_produced(load, each); });
}

bool has_consumed(const workload& load, const consumer_state& me) {
    if (me.audits) {
        return me.last_audit && me.positions == me.goals;
    }
    for (int i = 0; i < load.truth.partitions(); ++i) {
        if (me.positions[static_cast<std::size_t>(i)] < load.truth.acknowledged_end(i)) {
            return false;
        }
    }
    return all_sent(load);
}

/// Begins the next audit, up to what is acknowledged now.
void begin_audit(workload& load, consumer_state& me) {
    const outside world;
    me.last_audit = all_sent(load);
    const auto count = static_cast<std::size_t>(load.truth.partitions());
    me.positions.assign(count, 0);
    me.goals.assign(count, 0);
    for (std::size_t i = 0; i < count; ++i) {
        me.goals[i] = load.truth.acknowledged_end(static_cast<int>(i));
    }
    load.truth.counts().audits += me.positions == me.goals ? 0 : 1;
}

/// Every record from the position on, once and in order.
void take_records(workload& load, consumer_state& me, int partition, protocol::byte_view bytes) {
    std::int64_t& position = me.positions[static_cast<std::size_t>(partition)];
    const std::int64_t limit =
        me.audits ? me.goals[static_cast<std::size_t>(partition)] : INT64_MAX;
    protocol::batch_walk batches(bytes);
    while (const auto batch = batches.next()) {
        if (!batch->crc_matches()) {
            load.truth.violate(fmt::format("partition {}: a bad checksum at offset {}", partition,
                                           batch->base_offset()));
            return;
        }
        protocol::record_walk records(*batch);
        while (const auto record = records.next()) {
            if (record->offset < position || record->offset >= limit) {
                continue;  // a batch is fetched whole
            }
            if (record->offset > position) {
                load.truth.violate(fmt::format("partition {}: offset {} where {} was due",
                                               partition, record->offset, position));
                return;
            }
            if (!record->value || record->value->size() < 8) {
                load.truth.violate("a record without its value");
                return;
            }
            load.truth.observed(partition, position,
                                protocol::load_big<std::uint64_t>(record->value->data()));
            ++position;
        }
        if (records.failed()) {
            load.truth.violate("records and their count disagree");
            return;
        }
    }
    if (batches.stopped() == protocol::batch_walk::stop::invalid) {
        load.truth.violate(fmt::format("partition {}: no batch at {}", partition, position));
    }
}

void take_partition(workload& load, consumer_state& me, int partition,
                    const protocol::fetch_response::partition& got, std::int64_t known_end) {
    switch (got.error) {
        case error_code::none:
            break;
        case error_code::unknown_topic_or_partition:
            throw session_over("unknown topic");
        case error_code::offset_out_of_range:
            load.truth.violate(fmt::format(
                "partition {}: nothing at {}, which was there; the end is {}", partition,
                me.positions[static_cast<std::size_t>(partition)], got.high_watermark));
            return;
        case error_code::corrupt_message:
            load.truth.violate(fmt::format("partition {}: damaged", partition));
            return;
        default:
            return;  // a failed read, or too much to do: it asks again
    }
    if (got.high_watermark < known_end) {
        load.truth.violate(fmt::format("partition {}: acknowledged up to {}, the end is {}",
                                       partition, known_end, got.high_watermark));
        return;
    }
    if (got.records) {
        take_records(load, me, partition, got.records->bytes);
    }
}

std::vector<std::int64_t> acknowledged_ends(const workload& load) {
    std::vector<std::int64_t> ends;
    for (int i = 0; i < load.truth.partitions(); ++i) {
        ends.push_back(load.truth.acknowledged_end(i));
    }
    return ends;
}

/// A request for all partitions, of which another one comes first each time, so that none starves.
/// fill     (partition of the request, its number)
template <class Request>
void ask_for_all(const workload& load, Request& body, auto fill) {
    const int count = load.truth.partitions();
    const int first = static_cast<int>(below(static_cast<std::uint64_t>(count)));
    for (int i = 0; i < count; ++i) {
        const int partition = (first + i) % count;
        const std::string& topic = load.topic_of(partition);
        if (body.topics.empty() || body.topics.back().name != topic) {
            body.topics.emplace_back().name = topic;
        }
        auto& wanted = body.topics.back().partitions.emplace_back();
        wanted.partition_index = load.index_of(partition);
        fill(wanted, partition);
    }
}

/// take     (partition of the answer, its number)
template <class Response>
void take_all(workload& load, const Response& body, auto take) {
    for (const auto& topic : body.topics) {
        for (const auto& each : topic.partitions) {
            const int partition = load.partition_of(topic.name, each.partition_index);
            if (partition < 0) {
                load.truth.violate("an answer that names another partition");
                return;
            }
            take(each, partition);
        }
    }
}

future<> fetch_once(workload& load, consumer_state& me, kafka_client& client) {
    const std::vector<std::int64_t> known_ends = acknowledged_ends(load);
    protocol::fetch_request body;
    body.max_wait_ms = me.audits ? 0 : static_cast<std::int32_t>(below(500));
    body.min_bytes = below(2) == 0 ? 1 : static_cast<std::int32_t>(below(8192));
    ask_for_all(load, body, [&](auto& wanted, int partition) {
        wanted.fetch_offset = me.positions[static_cast<std::size_t>(partition)];
        wanted.partition_max_bytes = load.fetch_bytes;
    });
    co_await client.send(body, fetch_version);
    const auto answer = co_await client.receive<protocol::fetch_response>();
    if (answer.body.topics.empty()) {
        throw session_over("fetch");
    }
    take_all(load, answer.body, [&](const auto& each, int partition) {
        take_partition(load, me, partition, each, known_ends[static_cast<std::size_t>(partition)]);
    });
}

/// Asks for offsets by a time, for all partitions: first, next, or first of a record's time.
future<> look_up(workload& load, kafka_client& client) {
    using request = protocol::list_offsets_request;
    const std::vector<std::int64_t> known_ends = acknowledged_ends(load);
    const std::int64_t times[] = {request::latest, request::earliest,
                                  static_cast<std::int64_t>(below(oracle::latest_time + 2))};
    const std::int64_t time = times[below(std::size(times))];
    request body;
    ask_for_all(load, body, [&](auto& wanted, int) { wanted.timestamp = time; });
    co_await client.send(body, list_offsets_version);
    const auto answer = co_await client.receive<protocol::list_offsets_response>();
    take_all(load, answer.body, [&](const auto& each, int partition) {
        const std::int64_t end = known_ends[static_cast<std::size_t>(partition)];
        if (each.error != error_code::none) {
            return;  // a failed read, or a log that is being opened
        }
        if (time == request::earliest ? each.offset != 0
                                      : time == request::latest && each.offset < end) {
            load.truth.violate(fmt::format("partition {}: offset {} of time {}, the end was {}",
                                           partition, each.offset, time, end));
        }
        if (time >= 0) {
            load.truth.found(partition, time, each.offset, each.timestamp, end);
        }
    });
}

future<> consume_session(workload& load, consumer_state& me, kafka_client& client) {
    while (!has_consumed(load, me) && load.truth.violation().empty()) {
        if (me.audits && me.positions == me.goals) {
            begin_audit(load, me);
            co_await look_up(load, client);
            co_await pause(100ms);
        }
        co_await fetch_once(load, me, client);
        co_await pause(1ms);
    }
}

}  // namespace

int workload::partition_of(std::string_view topic, int index) const {
    const auto found = std::find(topics.begin(), topics.end(), topic);
    return found == topics.end() || index < 0 || index >= partitions_each
               ? -1
               : static_cast<int>(found - topics.begin()) * partitions_each + index;
}

future<> run_producer(workload& load, producer_state& me) {
    return keep_connected<producer_state>(load, me, produce_session, has_produced);
}

future<> run_consumer(workload& load, consumer_state& me) {
    return keep_connected<consumer_state>(load, me, consume_session, has_consumed);
}

}  // namespace weir::broker::sim_test
