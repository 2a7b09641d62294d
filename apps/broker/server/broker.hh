// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <broker/protocol/api.hh>
#include <broker/protocol/errors.hh>
#include <broker/server/answer_memory.hh>
#include <broker/server/catalog.hh>
#include <broker/server/errand.hh>
#include <broker/server/options.hh>
#include <broker/server/progress.hh>
#include <broker/server/request_times.hh>
#include <broker/storage/log.hh>
#include <broker/storage/store.hh>
#include <broker/storage/topics_file.hh>

#include <weir/core/future.hh>
#include <weir/core/gate.hh>
#include <weir/core/log.hh>
#include <weir/core/metrics.hh>
#include <weir/core/semaphore.hh>
#include <weir/core/sharded.hh>
#include <weir/net/message_budget.hh>
#include <weir/net/server.hh>

namespace weir::broker {

struct broker_counters {
    std::uint64_t requests = 0;
    std::uint64_t refusals = 0;           ///< connections closed for what they sent
    std::uint64_t bad_batches = 0;        ///< produced and refused
    std::uint64_t opened_elsewhere = 0;   ///< batches that a thread of the pool looked at
    std::uint64_t corrected_batches = 0;  ///< whose times were not their records'
    std::uint64_t fetch_waits = 0;        ///< long polls that had to wait
    std::uint64_t share_waits = 0;  ///< fetches that waited for answers to their own connection
    std::uint64_t topics_created = 0;
    std::uint64_t topics_refused = 0;  ///< beyond partitions_max
    std::uint64_t lost_calls = 0;      ///< to fetches that wait, for want of memory
};

struct client;
struct request;

/// A fetch that must wait, for records or for memory, does so for at least this time, whoever needs
/// what it holds, and however little its client would wait: it must not ask again and again.
inline constexpr duration least_patience = std::chrono::milliseconds(100);

/// One shard of the broker: the partitions that belong to it, the connections that it accepted,
/// and a copy of the catalog.
/// thread   one shard
class broker {
  public:
    broker(const broker_options& options, sharded<broker>* all);
    ~broker();

    /// Takes over the topics, and begins to open the partitions of them that are this shard's.
    future<> open(std::vector<topic_entry> topics);
    /// Partitions of this shard that are neither ready nor known to be damaged yet.
    std::size_t opening() const noexcept { return _store->opening(); }
    /// Takes connections from now on. Shard 0 first, whose port the others share.
    future<> listen(net::address at);
    /// Takes no more connections and answers what is under way. Requests still come from other
    /// shards until all have done this.
    future<> stop_serving();
    /// Waits for what nobody else waits for, once all shards have stopped serving.
    future<> end_calls();
    /// Closes the partitions.
    future<> stop();

    const broker_options& options() const noexcept { return _options; }
    sharded<broker>& all() const noexcept { return *_all; }
    const catalog& topics() const noexcept { return _catalog; }
    errand_returns& returns() noexcept { return _returns; }
    progress_board& progress() noexcept { return _progress; }
    net::message_budget& request_budget() noexcept { return _request_budget; }
    answer_memory& answers() noexcept { return _answers; }
    /// What one connection may hold of it.
    std::size_t answer_share() const noexcept {
        return std::min(_options.answer_bytes_each, _answers.most());
    }
    /// Memory for what a request costs beside the records that it reads: what is made of it, and
    /// its answer. One request of a connection may draw on what is kept for those who hold nothing.
    /// fails    errc::limit_exceeded if there is never so much; if nobody waits any more
    future<semaphore_units> admit(request& asked, std::size_t bytes);
    /// As admit(), but gives no units where that would wait: for one that holds some already.
    semaphore_units try_admit(request& asked, std::size_t bytes) noexcept;
    /// Waits in line for memory, has long polls end that hold some, and readers who don't take it.
    future<semaphore_units> wait_for_memory(std::size_t bytes, abort_source& ended);
    /// Batches that threads of the pool may open for this shard.
    semaphore& openings() noexcept { return _openings; }
    /// Requests of this shard's connections that look up times.
    semaphore& look_ups() noexcept { return _look_ups; }
    request_times& times() noexcept { return _times; }
    net::address where() const noexcept { return _server->where(); }
    std::string_view advertised_host() const noexcept { return _advertised_host; }
    std::int32_t advertised_port() const noexcept { return _advertised_port; }
    const broker_counters& counters() const noexcept { return _counters; }

    /// returns  this shard's log of a partition, null if there is none here, or none yet
    log* find(std::string_view topic, std::int32_t partition) const;
    /// What a client is told of a partition for which find() gives none.
    protocol::error_code code_of_missing(std::string_view topic, std::int32_t partition) const;
    /// Makes a topic with the default number of partitions, durably, on all shards.
    /// returns  the protocol's error; none also if it exists
    future<protocol::error_code> create_topic(std::string name);
    /// Tells who waits for it that a partition of this shard has grown; without memory, they look
    /// when they have waited long enough.
    void grown(const topic_partition& at) noexcept;

    /// The protocol's word for a failure, which is logged unless it is expected.
    protocol::error_code code_of(const std::exception_ptr& failure);
    void count_request(protocol::api_key) noexcept { ++_counters.requests; }
    void count_refusal() noexcept { ++_counters.refusals; }
    void count_bad_batch(const request& asked, const char* why) noexcept;
    /// A line about a client, and what it asked, if that is known. Its lines are limited by
    /// message: each kind has its own, so that one kind of noise leaves room for the others.
    void tell_of(const client& who, const request* asked, const char* message,
                 std::string_view detail) noexcept;
    void count_opened_elsewhere() noexcept { ++_counters.opened_elsewhere; }
    void count_corrected_batch() noexcept { ++_counters.corrected_batches; }
    void count_fetch_wait() noexcept { ++_counters.fetch_waits; }
    void count_share_wait() noexcept { ++_counters.share_waits; }

  private:
    future<protocol::error_code> create_topic_here(std::string name);
    future<> make_topic(std::string topic, std::int32_t partitions);
    void hurry_readers() noexcept;
    void register_metrics();
    void register_store_metrics();
    const log_metrics& sum_of_logs() const;

    const broker_options _options;
    sharded<broker>* const _all;
    logger _log;
    catalog _catalog;
    progress_board _progress;
    net::message_budget _request_budget;
    answer_memory _answers;
    instant _hurried{};  // when readers were last told that somebody waits
    semaphore _openings;
    semaphore _look_ups;
    semaphore _creating{1};  // shard 0: one topic at a time
    gate _calls;             // to other shards, that nobody waits for
    errand_returns _returns;
    std::unique_ptr<store> _store;
    std::vector<topic_entry> _topics;  // shard 0: what the data directory must have
    std::unique_ptr<net::server> _server;
    std::string _advertised_host;
    std::int32_t _advertised_port = 0;
    broker_counters _counters;
    request_times _times;
    mutable log_metrics _log_sum;             // as of the turn
    mutable std::uint64_t _log_sum_turn = 0;  // in which it was asked for
    std::vector<metrics::registration> _metrics;
};

/// Where a broker that has started can be reached.
struct broker_addresses {
    net::address clients;
    net::address admin;
};

/// Runs a broker on this host until it is asked to stop: see host::request_stop().
/// started  called once it takes connections
/// fails    weir::error: the data directory or an address can't be used, or stored data is damaged
/// thread   shard 0
future<> run_broker(host& on, broker_options options,
                    std::function<void(const broker_addresses&)> started);

}  // namespace weir::broker
