// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <weir/core/time.hh>

namespace weir::broker {

/// The limits of one partition's log. Every one may be changed between two openings.
struct log_options {
    /// A segment that would outgrow this is rolled. It bounds what a start after a crash reads:
    /// one segment of each log, the last.
    std::uint64_t segment_bytes = std::uint64_t{128} << 20;
    /// How far ahead of its data a file is zeroed: the first step, doubled up to the largest as
    /// the log fills steps. A quiet partition holds no more disk than the first.
    std::uint64_t zero_ahead_min_bytes = std::uint64_t{64} << 10;
    std::uint64_t zero_ahead_max_bytes = std::uint64_t{4} << 20;
    /// A commit of so many bytes is written to space that is reserved and not zeroed.
    std::size_t unzeroed_commit_bytes = std::size_t{256} << 10;
    /// A larger batch is refused; Kafka's message.max.bytes.
    std::size_t max_batch_bytes = (std::size_t{1} << 20) + 12;
    /// One write to the device. Recovery takes a bad batch that valid ones follow farther than
    /// this for damage, so it must not be set below what wrote the data.
    std::size_t max_commit_bytes = std::size_t{2} << 20;
    /// Appended and not yet durable; beyond this an append is refused as overloaded.
    std::size_t max_waiting_bytes = std::size_t{8} << 20;
    /// One read returns no more than this, but always one whole batch.
    std::size_t max_read_bytes = std::size_t{4} << 20;
    /// Readers behind the recent batches of which it is remembered where they go on.
    std::size_t max_followed_readers = 8;
    /// Bytes between two entries of an index; Kafka's index.interval.bytes.
    std::uint32_t index_interval_bytes = 4096;
    /// Entries of an index in memory; of a segment that is written to twice as many.
    std::size_t max_index_entries = 4096;
    /// O_DIRECT. Off only for file systems that have none: then the page cache may hide errors.
    bool direct = true;
    /// fallocate. Off only where there is none: then space comes with the zeros that are written.
    bool allocate = true;
    /// A log that took no append for so long is sealed and closed: it holds no descriptor, and the
    /// next start reads one page of it. The next append opens it again.
    duration idle_max = std::chrono::seconds(60);
    /// What a start left to the mark is read at this rate, a shard, as long as nobody waits for it:
    /// a read, a roll, or a log that was idle for idle_max has it read without a pause.
    std::uint64_t walk_bytes_a_second = std::uint64_t{64} << 20;
    /// For devices that may spoil all of a page that is being written when the power goes: what is
    /// acknowledged in the tail page is copied to a side file before the page is written again.
    /// Without it a device must leave each logical sector old or new.
    bool tail_copy = false;
    /// The device hears of what was acknowledged after so many bytes, or this long after the first
    /// of them. A power cut leaves no more than that to the judgement of recovery; nothing that a
    /// killed process acknowledged is ever in doubt. With tail_copy it hears of each commit.
    std::size_t mark_sync_bytes = std::size_t{16} << 20;
    duration mark_sync_wait_max = std::chrono::milliseconds(100);
    /// Checks the CRC of every batch that comes from disk before it is handed out.
    bool verify_reads = true;
    /// What batches carry as partition leader epoch.
    std::int32_t leader_epoch = 0;

    /// What a log that is open to append to holds, but for moments: its segment, its mark, its
    /// copy.
    std::size_t descriptors() const noexcept { return tail_copy ? 3 : 2; }
    /// fails    throws errc::malformed, naming the option, if limits contradict each other
    void check() const;
};

/// What a log has done, ever; sum them over logs and read them from metrics.
struct log_metrics {
    std::uint64_t appends = 0;
    std::uint64_t append_bytes = 0;
    std::uint64_t appends_refused = 0;  ///< overloaded: max_waiting_bytes
    std::uint64_t appends_failed = 0;   ///< by a full disk or a failed write
    std::uint64_t commits = 0;          ///< writes of data to the device
    std::uint64_t commit_bytes = 0;     ///< with tail pages rewritten and padding
    std::uint64_t commits_delayed = 0;  ///< that waited for zeroed space
    std::uint64_t tail_copies = 0;      ///< writes of a copy of the tail page
    std::uint64_t mark_syncs = 0;       ///< of the mark of what is acknowledged
    std::uint64_t damaged_marks = 0;    ///< met at opening
    std::uint64_t zeroed_bytes = 0;
    std::uint64_t rolls = 0;
    std::uint64_t seals_failed = 0;  ///< the next start walks such a segment
    std::uint64_t rests = 0;         ///< logs that were idle, sealed and closed
    std::uint64_t stops = 0;         ///< failed writes and syncs
    std::uint64_t reopens = 0;       ///< ends of a stop
    std::uint64_t reopens_failed = 0;
    std::uint64_t reads_from_memory = 0;
    std::uint64_t reads_from_disk = 0;
    std::uint64_t disk_read_bytes = 0;
    std::uint64_t reads_ahead = 0;          ///< of the device, before anybody asked
    std::uint64_t reads_ahead_dropped = 0;  ///< for which nobody came
    std::uint64_t index_loads = 0;          ///< of sealed segments
    std::uint64_t damaged_reads = 0;
    std::uint64_t damaged_indexes = 0;      ///< made anew by looking through the segment
    std::uint64_t damaged_batches = 0;      ///< met by those who looked through a segment
    std::uint64_t recovered_bytes = 0;      ///< walked at opening
    std::uint64_t recovery_read_bytes = 0;  ///< read from the device for that
    std::uint64_t walked_later_bytes = 0;   ///< that an opening left to the mark
    std::uint64_t cut_bytes = 0;            ///< of torn tails, zeros not counted
    std::uint64_t restored_tails = 0;       ///< written again from their copy
    std::uint64_t waiting_bytes = 0;        ///< now: appended and not yet durable
    std::uint64_t unsynced_mark_bytes = 0;  ///< now: acknowledged, and the device was not told

    log_metrics& operator+=(const log_metrics& other) noexcept;
};

}  // namespace weir::broker
