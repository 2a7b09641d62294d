// SPDX-License-Identifier: Apache-2.0
// A Kafka client for the benchmark of the broker, on librdkafka: it makes load and measures what a
// client sees, and prints one JSON object. The same binary drives every broker.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <bench/harness.hh>
#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <time.h>

namespace {

using weir::bench::now_ns;

constexpr const char* usage =
    "usage: bench_broker_driver produce BROKER TOPIC RECORDS BYTES [CODEC]\n"
    "       bench_broker_driver consume BROKER TOPIC RECORDS BYTES\n"
    "       bench_broker_driver latency BROKER TOPIC RATE BYTES SECONDS SECONDS_DROPPED\n"
    "All of one partition, 0; produce and latency ask for acks=all.\n";

constexpr int partition = 0;
constexpr int patience_ms = 60'000;

struct destroyer {
    void operator()(rd_kafka_t* client) const { rd_kafka_destroy(client); }
    void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
    void operator()(rd_kafka_topic_t* topic) const { rd_kafka_topic_destroy(topic); }
    void operator()(rd_kafka_queue_t* queue) const { rd_kafka_queue_destroy(queue); }
    void operator()(rd_kafka_topic_partition_list_t* list) const {
        rd_kafka_topic_partition_list_destroy(list);
    }
};
template <typename T>
using owned = std::unique_ptr<T, destroyer>;

using configuration = std::vector<std::pair<const char*, std::string>>;

owned<rd_kafka_conf_t> configure(const configuration& settings) {
    owned<rd_kafka_conf_t> conf(rd_kafka_conf_new());
    char reason[512];
    for (const auto& [name, value] : settings) {
        if (rd_kafka_conf_set(conf.get(), name, value.c_str(), reason, sizeof reason) !=
            RD_KAFKA_CONF_OK) {
            throw std::runtime_error(reason);
        }
    }
    return conf;
}

owned<rd_kafka_t> start(rd_kafka_type_t type, owned<rd_kafka_conf_t> conf) {
    char reason[512];
    owned<rd_kafka_t> client(rd_kafka_new(type, conf.get(), reason, sizeof reason));
    if (!client) {
        throw std::runtime_error(reason);
    }
    [[maybe_unused]] const auto* theirs = conf.release();  // the client's now
    return client;
}

/// Asks for the topic until it has a leader: making it is not what we measure.
void await_topic(rd_kafka_t* client, rd_kafka_topic_t* topic) {
    for (const std::int64_t end = now_ns() + std::int64_t{patience_ms} * 1'000'000;;) {
        const rd_kafka_metadata_t* known = nullptr;
        const rd_kafka_resp_err_t failure =
            rd_kafka_metadata(client, 0, topic, &known, patience_ms);
        const bool ready = failure == RD_KAFKA_RESP_ERR_NO_ERROR && known->topic_cnt == 1 &&
                           known->topics[0].partition_cnt > partition &&
                           known->topics[0].partitions[partition].leader >= 0;
        if (failure == RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_metadata_destroy(known);
        }
        if (ready) {
            return;
        }
        if (now_ns() > end) {
            throw std::runtime_error("no leader for the topic");
        }
        rd_kafka_poll(client, 20);
    }
}

/// What became of the records that were produced.
struct deliveries {
    std::int64_t acknowledged = 0;
    std::int64_t failed = 0;
    std::string why;
    std::vector<std::int64_t>* latencies_ns = nullptr;  // in the order of acknowledgement
    std::int64_t measure_from_ns = 0;                   // records due earlier are warm-up
};

// Called by poll(), on its thread. The opaque of a record is the time when it was due, if any.
void on_delivery(rd_kafka_t*, const rd_kafka_message_t* record, void* opaque) {
    auto& all = *static_cast<deliveries*>(opaque);
    if (record->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        all.why = rd_kafka_err2str(record->err);
        ++all.failed;
        return;
    }
    ++all.acknowledged;
    const auto due_ns = reinterpret_cast<std::int64_t>(record->_private);
    if (all.latencies_ns != nullptr && due_ns >= all.measure_from_ns) {
        all.latencies_ns->push_back(now_ns() - due_ns);
    }
}

class producer {
  public:
    producer(const std::string& broker, const std::string& topic, configuration settings) {
        settings.insert(settings.begin(), {{"bootstrap.servers", broker},
                                           {"acks", "all"},
                                           {"queue.buffering.max.messages", "500000"}});
        owned<rd_kafka_conf_t> conf = configure(settings);
        rd_kafka_conf_set_dr_msg_cb(conf.get(), on_delivery);
        rd_kafka_conf_set_opaque(conf.get(), &_deliveries);
        _client = start(RD_KAFKA_PRODUCER, std::move(conf));
        _topic.reset(rd_kafka_topic_new(_client.get(), topic.c_str(), nullptr));
        await_topic(_client.get(), _topic.get());
    }

    /// Hands over one record, and waits while the client's queue is full.
    void send(std::string& value, std::int64_t due_ns = 0) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): a number that on_delivery() reads back
        auto* const due = reinterpret_cast<void*>(due_ns);
        while (rd_kafka_produce(_topic.get(), partition, RD_KAFKA_MSG_F_COPY, value.data(),
                                value.size(), nullptr, 0, due) != 0) {
            const rd_kafka_resp_err_t failure = rd_kafka_last_error();
            if (failure != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                throw std::runtime_error(rd_kafka_err2str(failure));
            }
            rd_kafka_poll(_client.get(), 10);
        }
    }
    void poll(int milliseconds) { rd_kafka_poll(_client.get(), milliseconds); }

    /// Waits until every record is acknowledged; any other end of one is an error.
    void finish(std::int64_t sent) {
        rd_kafka_flush(_client.get(), patience_ms);
        if (_deliveries.acknowledged != sent) {
            throw std::runtime_error(fmt::format("{} of {} records acknowledged, {} failed: {}",
                                                 _deliveries.acknowledged, sent, _deliveries.failed,
                                                 _deliveries.why));
        }
    }
    deliveries& results() { return _deliveries; }

  private:
    deliveries _deliveries;
    owned<rd_kafka_t> _client;
    owned<rd_kafka_topic_t> _topic;
};

void produce(const std::string& broker, const std::string& topic, std::int64_t records,
             std::size_t bytes, const std::string& codec) {
    producer to(broker, topic,
                codec.empty() ? configuration{} : configuration{{"compression.codec", codec}});
    std::string value(bytes, 'x');
    // Not all alike: nothing on the way may profit from a value that it has just seen. Where it is
    // compressed a quarter of it is new each time, so that it becomes a few times smaller.
    const std::size_t words = codec.empty() ? 1 : std::max<std::size_t>(bytes / 64, 1);
    const std::int64_t began = now_ns();
    for (std::int64_t i = 0; i < records; ++i) {
        for (std::size_t word = 0; word < words; ++word) {
            const auto number =
                (static_cast<std::uint64_t>(i) * words + word + 1) * 0x9e3779b97f4a7c15;
            value.replace(word * 16, 16, fmt::format("{:016x}", number));
        }
        to.send(value);
        if (i % 1024 == 0) {
            to.poll(0);
        }
    }
    to.finish(records);
    fmt::print("{{\"seconds\":{:.6f}}}\n", static_cast<double>(now_ns() - began) * 1e-9);
}

owned<rd_kafka_t> start_consumer(const std::string& broker, const std::string& topic) {
    // Deep queues: with the default ones librdkafka pauses for long once they are full.
    owned<rd_kafka_t> client =
        start(RD_KAFKA_CONSUMER, configure({{"bootstrap.servers", broker},
                                            {"group.id", "bench"},
                                            {"enable.auto.commit", "false"},
                                            {"queued.min.messages", "1000000"},
                                            {"queued.max.messages.kbytes", "1048576"}}));
    rd_kafka_poll_set_consumer(client.get());
    const owned<rd_kafka_topic_t> known(rd_kafka_topic_new(client.get(), topic.c_str(), nullptr));
    await_topic(client.get(), known.get());
    return client;
}

void consume(const std::string& broker, const std::string& topic, std::int64_t records,
             std::size_t bytes) {
    const owned<rd_kafka_t> client = start_consumer(broker, topic);
    const owned<rd_kafka_topic_partition_list_t> list(rd_kafka_topic_partition_list_new(1));
    rd_kafka_topic_partition_list_add(list.get(), topic.c_str(), partition)->offset =
        RD_KAFKA_OFFSET_BEGINNING;
    const owned<rd_kafka_queue_t> queue(rd_kafka_queue_get_consumer(client.get()));
    const std::int64_t began = now_ns();
    if (const auto failure = rd_kafka_assign(client.get(), list.get())) {
        throw std::runtime_error(rd_kafka_err2str(failure));
    }
    std::vector<rd_kafka_message_t*> batch(1000);
    std::int64_t next = 0;
    while (next < records) {
        // It waits until the batch is full, and what is no record, as that there are no groups,
        // counts: so no more are asked for than are to come.
        const std::size_t most = std::min(batch.size(), static_cast<std::size_t>(records - next));
        const ssize_t got =
            rd_kafka_consume_batch_queue(queue.get(), patience_ms, batch.data(), most);
        if (got <= 0) {
            throw std::runtime_error(
                fmt::format("no record for {} s at {}", patience_ms / 1000, next));
        }
        for (ssize_t i = 0; i < got; ++i) {
            const rd_kafka_message_t& each = *batch[static_cast<std::size_t>(i)];
            if (each.err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                if (each.offset != next || each.len != bytes) {
                    throw std::runtime_error(fmt::format("offset {} of {} bytes where {} was due",
                                                         each.offset, each.len, next));
                }
                ++next;
            }
            rd_kafka_message_destroy(batch[static_cast<std::size_t>(i)]);
        }
    }
    fmt::print("{{\"seconds\":{:.6f}}}\n", static_cast<double>(now_ns() - began) * 1e-9);
    std::fflush(stdout);
    rd_kafka_consumer_close(client.get());
}

void sleep_until(std::int64_t due_ns) {
    const timespec at{due_ns / 1'000'000'000, due_ns % 1'000'000'000};
    while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, nullptr) != 0) {
    }
}

double percentile_us(const std::vector<std::int64_t>& sorted, double share) {
    const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
    return static_cast<double>(sorted[std::min(at, sorted.size() - 1)]) * 1e-3;
}

/// Open loop: record i is due at start + i / rate whatever became of those before, and its latency
/// counts from then, so that a stall is felt by every record that it delays.
void latency(const std::string& broker, const std::string& topic, std::int64_t rate,
             std::size_t bytes, double seconds, double seconds_dropped) {
    producer to(broker, topic, {{"linger.ms", "0"}});
    const auto records = static_cast<std::int64_t>(static_cast<double>(rate) * seconds);
    std::vector<std::int64_t> latencies_ns;
    latencies_ns.reserve(static_cast<std::size_t>(records));
    const std::int64_t began = now_ns() + 10'000'000;
    to.results().latencies_ns = &latencies_ns;
    to.results().measure_from_ns = began + static_cast<std::int64_t>(seconds_dropped * 1e9);
    std::exception_ptr failure;
    std::thread sender([&] {
        try {
            std::string value(bytes, 'x');
            for (std::int64_t i = 0; i < records; ++i) {
                const std::int64_t due = began + i * 1'000'000'000 / rate;
                sleep_until(due);
                to.send(value, due);
            }
        } catch (...) {
            failure = std::current_exception();
        }
    });
    const auto until = began + static_cast<std::int64_t>(seconds * 1e9);
    while (now_ns() < until) {
        to.poll(20);
    }
    sender.join();
    if (failure) {
        std::rethrow_exception(failure);
    }
    to.finish(records);
    if (latencies_ns.empty()) {
        throw std::runtime_error("nothing was measured");
    }
    std::sort(latencies_ns.begin(), latencies_ns.end());
    fmt::print("{{\"p50_us\":{:.1f},\"p99_us\":{:.1f},\"p999_us\":{:.1f},\"max_us\":{:.1f}}}\n",
               percentile_us(latencies_ns, 0.5), percentile_us(latencies_ns, 0.99),
               percentile_us(latencies_ns, 0.999), percentile_us(latencies_ns, 1));
}

int run(const std::vector<std::string>& words) {
    const std::string verb = words.empty() ? "" : words[0];
    if (verb == "produce" && (words.size() == 5 || words.size() == 6)) {
        produce(words[1], words[2], std::stoll(words[3]), std::stoul(words[4]),
                words.size() == 6 ? words[5] : "");
        return 0;
    }
    if (verb == "consume" && words.size() == 5) {
        consume(words[1], words[2], std::stoll(words[3]), std::stoul(words[4]));
        return 0;
    }
    if (verb == "latency" && words.size() == 7) {
        latency(words[1], words[2], std::stoll(words[3]), std::stoul(words[4]), std::stod(words[5]),
                std::stod(words[6]));
        return 0;
    }
    std::fputs(usage, stderr);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& e) {
        fmt::print(stderr, "bench_broker_driver: {}\n", e.what());
        return 1;
    }
}
