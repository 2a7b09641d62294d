// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <broker/storage/store.hh>
#include <broker/storage/topics_file.hh>

#include <weir/net/address.hh>
#include <weir/net/frame.hh>
#include <weir/net/message_budget.hh>
#include <weir/net/server.hh>

namespace weir::broker {

/// Everything that can be told a broker. Each limit is here, with its default.
struct broker_options {
    net::address listen = net::address::loopback(9092);
    net::address admin = net::address::loopback(9644);
    bool serve_admin = true;
    std::string data_directory = "./weir-data";
    /// What clients are told to connect to; empty: the host of `listen`, and its port.
    std::string advertised_host;
    std::uint16_t advertised_port = 0;
    std::int32_t node_id = 1;
    std::string cluster_id;  ///< what meta.properties of the data directory says

    bool create_topics = true;            ///< a topic that a client asks for comes into being
    std::int32_t default_partitions = 4;  ///< of such a topic
    /// Of the whole broker: then no topic is created. It is the one limit of partitions.
    std::int32_t partitions_max = 10'000;
    /// A start waits so long for all logs before it takes connections; then they come one by one.
    duration open_wait_max = std::chrono::milliseconds(200);

    net::server_options server;
    net::frame_options frames;
    std::size_t requests_in_flight = 64;            ///< of one connection; then it is not read
    std::size_t request_bytes = 256 * 1024 * 1024;  ///< of all requests of a shard; likewise
    /// Of these, so that the largest request can be finished when the rest is used up.
    std::size_t large_request_bytes = 128 * 1024 * 1024;
    std::size_t fetches_in_flight = 2;                 ///< of one connection that hold records
    std::size_t answer_bytes = 256 * 1024 * 1024;      ///< of all records on their way, a shard
    std::size_t answer_bytes_each = 64 * 1024 * 1024;  ///< of these, for one connection
    /// For a client to take each MiB of an answer while others wait for that memory; else
    /// server.connection.send_time_max.
    duration send_time_in_want = std::chrono::seconds(5);
    std::size_t fetch_bytes_max = 50 * 1024 * 1024;  ///< of one answer, whatever a client asks
    std::size_t elements_max = 20'000;  ///< of all arrays of one request: topics, partitions
    std::size_t look_ups_at_once = 4;   ///< of offsets by time, a shard
    std::size_t opened_bytes_max = 64 * 1024 * 1024;  ///< that one compressed batch may open to
    std::size_t opened_ratio_max = 1'000;             ///< of these to the batch's own, above 1 MiB
    std::size_t openings_at_once = 2;                 ///< batches that threads open for a shard
    /// How far ahead of our clock a record may be; Kafka's message.timestamp.after.max.ms.
    wall_clock_ms timestamp_ahead_max_ms = 60 * 60 * 1000;
    duration fetch_wait_max = std::chrono::minutes(5);  ///< of a long poll, likewise

    store_options storage;

    /// Makes budgets smaller, where the memory is: so that all shards together live in it.
    /// memory   of the machine, or of the cgroup
    void fit_to_memory(std::uint64_t memory, unsigned shards);
    /// Likewise with descriptors: what connections, logs and files that are read may have.
    /// limit    of the process
    void fit_to_descriptors(std::uint64_t limit, unsigned shards);
    /// What connections, open logs and files that are read may have when all are there.
    std::uint64_t descriptors_needed(unsigned shards) const noexcept;
    /// What a broker with these budgets may take of memory when all are used.
    std::uint64_t memory_needed(unsigned shards) const noexcept;

    /// fails    weir::error: limits that can't hold together
    void check() const;
    /// fails    errc::limit_exceeded, with figures, if they need more memory than there is
    void check_memory(std::uint64_t memory, unsigned shards) const;
    /// fails    likewise for descriptors; `limit` is the process's
    void check_descriptors(std::uint64_t limit, unsigned shards) const;
    /// fails    errc::malformed if clients would be told an address that nobody can connect to
    void check_addresses() const;
    /// What may wait in one log: as much as the budgets of requests let in.
    std::uint64_t waiting_bytes(unsigned shards) const noexcept;
    /// The budget of requests, of a shard.
    net::message_budget_options request_budget() const noexcept;
};

}  // namespace weir::broker
