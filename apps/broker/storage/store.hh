// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <broker/storage/log.hh>
#include <broker/storage/log_keeper.hh>
#include <broker/storage/names.hh>

namespace weir::broker {

struct store_options {
    log_options log;        ///< of each partition
    reopen_options reopen;  ///< of those that a failed write or sync has stopped
    /// Memory for recent batches, shared by the logs of the shard.
    std::size_t recent_bytes = std::size_t{16} << 20;
    /// Memory for what is read from the device before a consumer asks for it, likewise.
    std::size_t read_ahead_bytes = std::size_t{16} << 20;
    /// Logs that a start recovers at the same time. Each needs memory for a largest commit.
    std::size_t recoveries_at_once = 8;
    /// Partitions that this shard may hold.
    std::size_t max_partitions = 10'000;
};

/// The partitions of one shard, in a data directory that all shards share. Which are its own says
/// a function of the partition, so that the number of shards may change between two runs.
/// thread   one shard
class store {
  public:
    using owner_test = std::function<bool(const topic_partition&)>;

    /// Recovers every partition of the data directory that is its own.
    /// directory  opened by data_directory::open before
    /// fails    as log::open; names that are no partition's are left alone
    static future<std::unique_ptr<store>> open(std::string directory, store_options options,
                                               owner_test owns);
    store(const store&) = delete;
    store& operator=(const store&) = delete;

    /// returns  null if it is not here
    log* find(const topic_partition& which) noexcept;
    /// The partition's log; makes its directory, durably, if it is new.
    /// fails    errc::malformed for a name that is no topic's; errc::limit_exceeded beyond
    ///          max_partitions; errc::closed
    future<log*> create(topic_partition which);
    /// All that are here, in order.
    std::vector<topic_partition> partitions() const;

    /// The counters of all logs, added up.
    log_metrics metrics() const noexcept;
    /// Logs that refuse appends until they are reopened.
    std::size_t stopped_logs() const noexcept { return _keeper.stopped(); }
    const store_options& options() const noexcept { return _options; }
    /// Bytes that are held for consumers who have not asked for them yet.
    std::size_t read_ahead_bytes() const noexcept { return _ahead.used_bytes(); }

    /// Closes every log. Once.
    future<> close();

  private:
    store(std::string directory, store_options options)
        : _directory(std::move(directory)),
          _options(options),
          _recent(options.recent_bytes),
          _ahead(options.read_ahead_bytes),
          _keeper(options.reopen) {}
    future<> open_all(owner_test owns);
    future<> open_one(topic_partition which, semaphore_units place);
    future<log*> make(topic_partition which);
    log& keep(const topic_partition& which, std::unique_ptr<log> opened);

    const std::string _directory;
    const store_options _options;
    recent_memory _recent;
    read_ahead_memory _ahead;
    log_keeper _keeper;
    std::map<topic_partition, std::unique_ptr<log>> _logs;
    std::map<topic_partition, std::vector<promise<>>> _being_made;
    bool _closed = false;
    gate _creations;
};

}  // namespace weir::broker
