// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <broker/storage/log.hh>
#include <broker/storage/log_keeper.hh>
#include <broker/storage/names.hh>

namespace weir::broker {

struct store_options {
    log_options log;          ///< of each partition
    reopen_options reopen{};  ///< of those that a failed write or sync has stopped
    /// Memory for recent batches, shared by the logs of the shard.
    std::size_t recent_bytes = std::size_t{16} << 20;
    /// Memory for what is read from the device before a consumer asks for it, likewise.
    std::size_t read_ahead_bytes = std::size_t{16} << 20;
    /// Memory for the indexes of sealed segments, likewise: read when somebody needs them, they go
    /// when that is used up. One may be larger.
    std::size_t index_bytes = std::size_t{16} << 20;
    /// Logs that a start recovers at the same time. Each needs memory for a largest commit.
    std::size_t recoveries_at_once = 8;
    /// Logs that a stop closes at the same time.
    std::size_t closings_at_once = 32;
    /// Logs that tell the device of their marks at the same time: the flushes of many logs must
    /// not keep those who wait for an acknowledgement waiting.
    std::size_t mark_syncs_at_once = 2;
    /// Logs that may be open to append to; who needs one more waits until one that was idle
    /// longest, or is busy and has had its turn, is closed. Each has log_options::descriptors(),
    /// and one more for moments.
    std::size_t open_logs_max = 1'000;
    /// Segments that are kept open for reading, a descriptor each.
    std::size_t read_files_max = 500;
    /// Partitions that this shard may hold.
    std::size_t max_partitions = 10'000;
};

/// How it stands with a partition of a store.
enum class partition_state : std::uint8_t {
    none,     ///< it is not here
    opening,  ///< its turn comes, or it is recovered, or what that needs is not there: ask again
    ready,    ///< find() gives it
    quarantined,  ///< damaged or lost: left as it is for somebody to look at
};

/// The partitions of one shard, in a data directory that all shards share. Which are its own is
/// told by the caller, so that the number of shards may change between two runs. Each is served
/// as soon as it is recovered; one that is damaged keeps no other from being served.
/// thread   one shard
class store {
  public:
    /// Begins to recover these partitions, which must be there.
    /// directory  opened by data_directory::open before
    static future<std::unique_ptr<store>> open(std::string directory, store_options options,
                                               std::vector<topic_partition> partitions);
    /// There when each of them is ready or quarantined, or close() has begun.
    future<> opened();
    store(const store&) = delete;
    store& operator=(const store&) = delete;

    /// returns  null if it is not ready; one that waits for its turn is recovered next then
    log* find(const topic_partition& which) noexcept;
    partition_state state(const topic_partition& which) const noexcept;
    /// The partition's log; makes its directory, durably, if it is new.
    /// fails    errc::malformed for a name that is no topic's; errc::limit_exceeded beyond
    ///          max_partitions; errc::corrupt for a directory that is there and holds records, or
    ///          a partition that is quarantined; errc::closed
    future<log*> create(topic_partition which);
    /// All that are ready, in order.
    std::vector<topic_partition> partitions() const;
    std::size_t ready() const noexcept { return _logs.size(); }
    std::size_t opening() const noexcept;
    /// Logs that have a file open to append to.
    std::size_t open_logs() const noexcept;
    std::size_t quarantined() const noexcept { return _quarantined.size(); }

    /// The counters of all logs, added up.
    log_metrics metrics() const noexcept;
    /// Logs that refuse appends until they are reopened.
    std::size_t stopped_logs() const noexcept { return _keeper.stopped(); }
    const store_options& options() const noexcept { return _options; }
    /// Bytes that are held for consumers who have not asked for them yet.
    std::size_t read_ahead_bytes() const noexcept { return _ahead.used_bytes(); }
    /// Of the indexes of sealed segments that are in memory.
    std::size_t index_bytes() const noexcept { return _indexes.used(); }

    /// Appends that wait for a place of open_logs_max fail from here on, with errc::aborted: for
    /// who waits for all appends before close().
    void end_place_waits() noexcept { _places.end_waits(); }
    /// Closes every log. Once.
    future<> close();

  private:
    store(std::string directory, store_options options)
        : _directory(std::move(directory)),
          _options(options),
          _recent(options.recent_bytes),
          _ahead(options.read_ahead_bytes),
          _mark_syncs(options.mark_syncs_at_once),
          _places(options.open_logs_max),
          _read_files(options.read_files_max),
          _indexes(options.index_bytes),
          _keeper(options.reopen) {}
    future<std::unique_ptr<log>> open_log(const topic_partition& which);
    future<> open_in_turn(gate::holder inside);
    std::set<topic_partition>::node_type take_next();
    future<bool> open_one(topic_partition which);
    future<> look_for_idle_logs(gate::holder inside);
    std::vector<log*> idle_logs() const;
    future<> make_places(gate::holder inside);
    std::vector<log*> who_gives_way(std::size_t most) const;
    future<> seal_left_open(gate::holder inside);
    std::vector<log*> left_open() const;
    void quarantine(const topic_partition& which, const char* why);
    void tell_opened() noexcept;
    future<log*> make(topic_partition which);
    log& keep(const topic_partition& which, std::unique_ptr<log> opened);

    const std::string _directory;
    const store_options _options;
    recent_memory _recent;
    read_ahead_memory _ahead;
    semaphore _mark_syncs;
    open_places _places;
    read_files _read_files;
    index_memory _indexes;
    log_keeper _keeper;
    std::set<topic_partition> _in_line;   // to be opened
    std::deque<topic_partition> _wanted;  // of these, those that somebody asked for
    std::set<topic_partition> _at_work;   // being opened
    std::set<topic_partition> _later;     // to be tried again
    std::set<topic_partition> _quarantined;
    std::vector<promise<>> _waiting_for_opened;
    abort_source _closing;
    gate _openings;
    std::map<topic_partition, std::unique_ptr<log>> _logs;
    std::map<topic_partition, std::vector<promise<>>> _being_made;
    bool _closed = false;
    gate _creations;
};

}  // namespace weir::broker
