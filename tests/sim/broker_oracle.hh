// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include <weir/io/sim/world.hh>

namespace weir::broker::sim_test {

/// What the runs of a test met together, so that it can say that it met enough.
struct statistics {
    std::uint64_t acknowledged = 0;       ///< records
    std::uint64_t retried = 0;            ///< batches whose fate was unknown or bad
    std::uint64_t refused = 0;            ///< batches answered with an error
    std::uint64_t storage_errors = 0;     ///< of these, because the disk failed
    std::uint64_t consumed = 0;           ///< records, by consumers and audits
    std::uint64_t audits = 0;             ///< whole logs read from the start
    std::uint64_t look_ups = 0;           ///< offsets by time that were held against the logs
    std::uint64_t broker_starts = 0;      ///< after the first
    std::uint64_t failed_starts = 0;      ///< the disk failed while it started
    std::uint64_t graceful_stops = 0;     ///< that ended well
    std::uint64_t durability_checks = 0;  ///< acknowledged batches looked for on the device

    statistics& operator+=(const statistics& other) noexcept;
};

/// For people.
std::string describe(const statistics& counts);

/// Knows, outside all hosts, what was sent, promised and seen; says when that does not fit.
/// Every try to send a record has a value of its own, so nothing may ever have two offsets.
/// thread   that of the world; code of any host calls it
class oracle {
  public:
    /// directories  of all partitions, by their number
    oracle(io::sim::sim_host& broker, std::vector<std::string> directories);

    /// The time that the record of a value bears, up to latest_time: in no order.
    static constexpr std::int64_t latest_time = 1000;
    static std::int64_t time_of(std::uint64_t value) noexcept;

    int partitions() const noexcept { return static_cast<int>(_logs.size()); }
    /// The value of a new record of a producer.
    std::uint64_t fresh_value(unsigned producer);
    /// The value of the same record, sent once more.
    std::uint64_t next_try(std::uint64_t value);

    /// The broker says that these are durable from `base` on.
    void acknowledged(int partition, std::int64_t base, std::span<const std::uint64_t> values);
    /// A consumer read this record.
    void observed(int partition, std::int64_t offset, std::uint64_t value);
    /// The broker says that the first record with a time of `asked` or later is at `offset` and has
    /// that time; -1: there is none.
    /// end      what was acknowledged before it was asked
    void found(int partition, std::int64_t asked, std::int64_t offset, std::int64_t time,
               std::int64_t end);
    /// Beyond the last acknowledged record.
    std::int64_t acknowledged_end(int partition) const { return _logs[index(partition)].end; }

    void violate(const std::string& what);
    const std::string& violation() const noexcept { return _violation; }
    statistics& counts() noexcept { return _counts; }

  private:
    struct partition_log {
        std::deque<std::uint64_t> values;  // by offset; 0: not known
        std::int64_t end = 0;
    };
    static std::size_t index(int partition) { return static_cast<std::size_t>(partition); }
    void place(int partition, std::int64_t offset, std::uint64_t value, const char* how);
    void check_durable(int partition, std::int64_t base, std::uint64_t first);

    io::sim::sim_host& _broker;
    const std::vector<std::string> _directories;
    statistics _counts;
    std::vector<partition_log> _logs;
    std::vector<std::uint64_t> _next;                       // by producer
    std::unordered_map<std::uint64_t, std::int64_t> _sent;  // value, its offset or -1
    std::string _violation;
};

}  // namespace weir::broker::sim_test
