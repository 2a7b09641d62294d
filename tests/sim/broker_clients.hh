// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <sim/broker_oracle.hh>

#include <weir/core/future.hh>
#include <weir/net/address.hh>

namespace weir::broker::sim_test {

/// A batch, as long as its producer does not know that it is in the log.
struct sent_batch {
    int partition = 0;
    std::uint32_t size = 0;
    std::vector<std::uint64_t> values;
};

/// What a producer remembers when its host dies.
struct producer_state {
    unsigned number = 0;
    std::deque<sent_batch> on_the_way;  ///< in the order of sending
    std::deque<sent_batch> again;
};

/// What all clients of a run share. It lives outside their hosts.
struct workload {
    net::address broker;
    std::vector<std::string> topics;
    int partitions_each;  ///< of a topic; clients number the partitions of all topics through
    oracle& truth;
    duration patience = std::chrono::seconds(2);
    duration pause_max = std::chrono::milliseconds(20);  ///< between two bursts
    unsigned burst_max = 6;                              ///< requests on their way together
    unsigned batch_max = 4;                              ///< records of a batch
    std::vector<std::uint32_t> sizes;                    ///< of values, in bytes
    std::int32_t fetch_bytes = 16 * 1024;                ///< of a partition
    bool finishing = false;                              ///< nothing new is produced
    std::deque<producer_state> producers;

    const std::string& topic_of(int partition) const {
        return topics[static_cast<std::size_t>(partition / partitions_each)];
    }
    int index_of(int partition) const { return partition % partitions_each; }
    /// returns  -1 for what is no partition of theirs
    int partition_of(std::string_view topic, int index) const;
};

/// What a consumer remembers when its host dies.
struct consumer_state {
    /// Reads everything from the start again and again, where others go on.
    bool audits = false;
    std::vector<std::int64_t> positions;
    std::vector<std::int64_t> goals;  ///< of this audit
    bool last_audit = false;          ///< begun when nothing more could come
};

/// Produces until the workload finishes and everything it sent is acknowledged.
future<> run_producer(workload& load, producer_state& me);
/// Consumes until the workload finishes and everything acknowledged is read.
future<> run_consumer(workload& load, consumer_state& me);

}  // namespace weir::broker::sim_test
