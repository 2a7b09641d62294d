// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <broker/storage/uuid.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// A directory that belongs to one broker: partitions' directories, meta.properties as Kafka
/// writes it, and a lock. One shard of the process opens it, before any store does.
/// thread   one shard
class data_directory {
  public:
    /// Makes the directory if it is missing, locks it, and checks or writes meta.properties.
    /// node_id  of this broker; what is there must agree
    /// fails    EBUSY if another process has it; errc::corrupt, saying why, if it is another
    ///          program's, another node's or of another version: nothing is changed then
    static future<data_directory> open(std::string path, std::int32_t node_id);
    data_directory(data_directory&&) noexcept = default;
    data_directory& operator=(data_directory&&) noexcept = default;

    const std::string& path() const noexcept { return _path; }
    /// Of the cluster of one broker that this is: made with the directory, and kept.
    const uuid& cluster() const noexcept { return _cluster; }
    /// Unlocks it.
    future<> close() { return _lock.close(); }

  private:
    data_directory(std::string path, uuid cluster, io::file lock) noexcept;

    std::string _path;
    uuid _cluster;
    io::file _lock;
};

}  // namespace weir::broker
