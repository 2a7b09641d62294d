// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <broker/storage/log.hh>
#include <broker/storage/names.hh>
#include <broker/storage/options.hh>
#include <broker/storage/recent_batches.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

struct store_options {
    log_options log;
    std::size_t recent_bytes = std::size_t{64} << 20;  ///< of a shard's newest records in memory
    unsigned open_together = 16;                       ///< logs recovered at a time at the start
};

/// A broker's data directory: a directory for each partition, and a lock, so that two brokers
/// can't share it.
class data_directory {
  public:
    /// Makes the directory if it is missing, locks it and lists the partitions.
    /// fails    weir::error: it is locked by another broker, it can't be used, or it holds
    ///          something that isn't a broker's
    static future<data_directory> open(std::string path);

    const std::vector<topic_partition>& partitions() const noexcept { return _partitions; }
    /// Gives up the lock.
    future<> close() { return _lock.close(); }

  private:
    std::string _path;
    io::file _lock;
    std::vector<topic_partition> _partitions;
};

/// The logs of the partitions that belong to one shard.
/// thread   one shard
class store {
  public:
    /// Opens, and so recovers, the logs of these partitions, some at a time.
    /// fails    as log::open does, once all that were under way have ended
    static future<std::unique_ptr<store>> open(std::string directory, store_options options,
                                               std::vector<topic_partition> partitions);
    ~store();

    /// returns  null if there is no such partition here
    log* find(std::string_view topic, std::int32_t partition) const;
    /// Makes a partition's directory durable and opens its log; nothing if it is there.
    future<> create(const topic_partition& added);
    /// Closes all logs. Once.
    /// fails    as the first log that failed, once all have ended
    future<> close();

    /// The sum over all logs.
    log_metrics metrics() const;
    std::size_t size() const noexcept { return _logs.size(); }
    const std::map<topic_partition, std::unique_ptr<log>>& logs() const noexcept { return _logs; }

  private:
    store(std::string directory, store_options options);
    future<> open_log(const topic_partition& of);

    const std::string _directory;
    const store_options _options;
    recent_memory _recent;
    std::map<topic_partition, std::unique_ptr<log>> _logs;
};

}  // namespace weir::broker
