// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/options.hh>

#include <limits>

#include <weir/core/error.hh>

namespace weir::broker {

void log_options::check() const {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw error("check log options", what, errc::malformed);
        }
    };
    require(segment_bytes >= 4096 && segment_bytes <= std::numeric_limits<std::int32_t>::max() / 2,
            "segment_bytes: 4 KiB to 1 GiB");
    require(zero_ahead_min_bytes >= 4096 && zero_ahead_min_bytes % 4096 == 0 &&
                zero_ahead_max_bytes % 4096 == 0 && zero_ahead_min_bytes <= zero_ahead_max_bytes,
            "zero_ahead_min_bytes, zero_ahead_max_bytes: multiples of 4 KiB, in order");
    require(max_batch_bytes >= 61 && max_batch_bytes <= max_commit_bytes,
            "max_batch_bytes: at least a header, at most max_commit_bytes");
    require(max_commit_bytes <= (std::size_t{256} << 20), "max_commit_bytes: at most 256 MiB");
    require(max_commit_bytes <= max_waiting_bytes, "max_waiting_bytes: at least max_commit_bytes");
    require(max_read_bytes >= 4096, "max_read_bytes: at least 4 KiB");
    require(max_followed_readers > 0, "max_followed_readers: above 0");
    require(walk_bytes_a_second >= (std::uint64_t{1} << 20), "walk_bytes_a_second: at least 1 MiB");
    require(idle_max > duration(0), "idle_max: above 0");
    require(mark_sync_bytes > 0 && mark_sync_wait_max > duration(0),
            "mark_sync_bytes, mark_sync_wait_max: above 0");
    require(index_interval_bytes > 0 && max_index_entries >= 2,
            "index_interval_bytes, max_index_entries: above 0 and 1");
}

log_metrics& log_metrics::operator+=(const log_metrics& other) noexcept {
    appends += other.appends;
    append_bytes += other.append_bytes;
    appends_refused += other.appends_refused;
    appends_failed += other.appends_failed;
    commits += other.commits;
    commit_bytes += other.commit_bytes;
    commits_delayed += other.commits_delayed;
    tail_copies += other.tail_copies;
    mark_syncs += other.mark_syncs;
    damaged_marks += other.damaged_marks;
    zeroed_bytes += other.zeroed_bytes;
    rolls += other.rolls;
    seals_failed += other.seals_failed;
    rests += other.rests;
    stops += other.stops;
    reopens += other.reopens;
    reopens_failed += other.reopens_failed;
    reads_from_memory += other.reads_from_memory;
    reads_from_disk += other.reads_from_disk;
    disk_read_bytes += other.disk_read_bytes;
    reads_ahead += other.reads_ahead;
    reads_ahead_dropped += other.reads_ahead_dropped;
    index_loads += other.index_loads;
    damaged_reads += other.damaged_reads;
    damaged_indexes += other.damaged_indexes;
    damaged_batches += other.damaged_batches;
    recovered_bytes += other.recovered_bytes;
    recovery_read_bytes += other.recovery_read_bytes;
    walked_later_bytes += other.walked_later_bytes;
    cut_bytes += other.cut_bytes;
    restored_tails += other.restored_tails;
    waiting_bytes += other.waiting_bytes;
    unsynced_mark_bytes += other.unsynced_mark_bytes;
    return *this;
}

}  // namespace weir::broker
