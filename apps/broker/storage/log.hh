// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <boost/intrusive/list.hpp>
#include <boost/intrusive/list_hook.hpp>
#include <broker/storage/active_segment.hh>
#include <broker/storage/log_mark.hh>
#include <broker/storage/open_places.hh>
#include <broker/storage/options.hh>
#include <broker/storage/read_ahead.hh>
#include <broker/storage/recent_batches.hh>
#include <broker/storage/recently_used.hh>
#include <broker/storage/recovery.hh>
#include <broker/storage/segment.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/gate.hh>
#include <weir/core/semaphore.hh>

namespace weir::broker {

/// Hears when a log's end moves, its log stops or closes. Linked to one log at most; unlinks itself
/// when destroyed.
class end_listener : public boost::intrusive::list_base_hook<
                         boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  public:
    /// Must not run user code nor unlink others: it makes a task ready.
    virtual void end_moved() noexcept = 0;

  protected:
    ~end_listener() = default;
};

/// What an append came to: its records are durable.
struct append_result {
    std::int64_t base_offset = 0;
    wall_clock_ms log_append_time = -1;  ///< -1: the records keep the times of their producer
};

/// What a read came to.
struct read_result {
    enum class outcome : std::uint8_t {
        ok,            ///< empty if the offset is the log's end
        out_of_range,  ///< before the start or behind the end
    };
    outcome how = outcome::ok;
    std::vector<chunk> chunks;  ///< whole batches; the first may start before the offset
    std::size_t bytes = 0;
    std::size_t first_bytes = 0;  ///< of a first batch that did not come for its size
    std::int64_t start_offset = 0;
    std::int64_t end_offset = 0;
};

/// What there is to read from an offset on.
struct read_outlook {
    std::size_t bytes = 0;        ///< on the device: up to an index entry more than there is
    std::size_t first_bytes = 0;  ///< of the first batch; 0: only reading tells
};

/// The first record that is not older than a time.
struct timestamp_position {
    std::int64_t offset;
    std::int64_t timestamp;
};

/// The segments' files that are kept open for reading.
using read_files = recently_used<io::file>;
/// The indexes of sealed segments. A file of one may be larger than what is kept of it: few are
/// read at the same time.
struct index_memory : recently_used<const segment_index> {
    using recently_used::recently_used;
    semaphore loads{2};
};

/// The log of one partition: batches in segments, each acknowledged once it is on the device. One
/// commit is in flight, written from a frozen copy; what arrives meanwhile joins the next.
/// README.md here tells the way of a record.
/// thread   one shard
class log {
  public:
    /// Recovers what is in the directory, which must exist. Nothing is written if the last owner
    /// closed it well; the file to append to is opened by the first append.
    /// recent   shared with other logs of the shard; outlives the log
    /// ahead    likewise; null: nothing is read ahead
    /// mark_syncs  likewise: logs that may tell the device of their marks at the same time; null:
    ///             this one needs not wait for others
    /// places   likewise; null: it may open its files when it likes
    /// files, indexes  likewise; null: it keeps a few of its own
    /// give_up  once triggered, recovery ends with its reason; what it has not changed stays
    /// fails    errc::corrupt if acknowledged records may be missing
    static future<std::unique_ptr<log>> open(
        std::string directory, log_options options, recent_memory& recent,
        read_ahead_memory* ahead = nullptr, semaphore* mark_syncs = nullptr,
        abort_source* give_up = nullptr, open_places* places = nullptr, read_files* files = nullptr,
        index_memory* indexes = nullptr);
    log(const log&) = delete;
    log& operator=(const log&) = delete;
    /// Must be closed before, if it was appended to.
    ~log();

    /// Appends one or more whole batches, checked by protocol::check_produced: gives them offsets
    /// and writes them. Appends become durable, and their futures there, in the order of the calls.
    /// fails    errc::overloaded beyond max_waiting_bytes: see wait_for_room();
    ///          errc::limit_exceeded above max_batch_bytes; errc::malformed; ENOSPC, and then the
    ///          next append tries again; after any other failure the log has stopped, and whether
    ///          these records are in the log is known after reopen()
    future<append_result> append(std::vector<std::byte> batches);
    /// The same for memory of the caller's, which stays there, and untouched by others, until the
    /// future is settled.
    future<append_result> append_borrowed(std::span<std::byte> batches);
    /// There when an append would not be refused as overloaded.
    future<> wait_for_room();

    /// Has what outlook() needs to know, where a log that rests has it on the device. Never fails:
    /// without it there seems to be more than there is.
    future<> prepare_outlook(std::int64_t offset);
    /// What read() would find, up to `enough` or a little more; nothing beyond the log's ends.
    /// cost     no read, and no byte of memory
    read_outlook outlook(std::int64_t offset, std::size_t enough) const noexcept;
    /// Reads whole batches from the one that has `offset` on, never beyond the durable end. What
    /// they lie in is at most twice as large as they, or a page.
    /// max_bytes  of them; a first batch that is larger comes whole (KIP-74)
    /// first_max  unless it is above this: then nothing comes but its size
    /// fails    errc::corrupt, naming file and position, rather than hand out damage
    /// cost     none but the call for recent batches, and for those read ahead for who reads on;
    ///          else one or two reads of the device
    future<read_result> read(std::int64_t offset, std::size_t max_bytes,
                             std::size_t first_max = SIZE_MAX);
    /// Looks into batches, opening those that are compressed; off the reactor if that takes long.
    /// opened_max  bytes that one may open to
    /// openings  of which each that a thread opens takes a unit, if there is one
    /// returns  null if all records are older
    future<std::optional<timestamp_position>> find_timestamp(
        std::int64_t timestamp, std::size_t opened_max = std::size_t{64} << 20,
        semaphore* openings = nullptr);

    /// The first offset that can be read.
    std::int64_t start_offset() const noexcept;
    /// The offset after the last durable record: Kafka's high watermark here.
    std::int64_t end_offset() const noexcept { return _end_offset; }
    /// Bytes of durable batches.
    std::uint64_t size_bytes() const noexcept;
    /// Tells the listener of every change of end_offset() from now on.
    void listen(end_listener& added) { _listeners.push_back(added); }

    /// Whether a failed write or sync has stopped it: reads go on, appends fail.
    bool stopped() const noexcept { return _failure != nullptr; }
    /// Whether a file is open to append to.
    bool active() const noexcept { return _active != nullptr; }
    /// Whether rest() would have something to do, and nothing is on its way.
    bool can_rest() const noexcept {
        return (_active != nullptr || has_unsealed()) && !_committing && !_mark_syncing &&
               !stopped() && !_closed;
    }
    /// Whether it has a place of open_places that it could give back.
    bool can_give_way() const noexcept { return active() && !stopped() && !_closed; }
    bool committing() const noexcept { return _committing; }
    /// When it was opened to append to.
    instant active_since() const noexcept { return _active_since; }
    /// Closes what can_give_way(), for another log that waits for a place: now, or, while it
    /// commits, between two commits if somebody waits still. It is sealed if that needs no walk.
    /// returns  whether its place is free
    future<bool> give_way();
    /// When it took its last append, or was opened.
    instant last_commit() const noexcept { return _last_commit; }
    /// Seals and closes what can_rest(). Appends that come meanwhile wait for it, and open it
    /// again.
    /// paced    what a start left to the mark is read at log_options::walk_bytes_a_second
    future<> rest(bool paced = false);
    /// What is being read so is left unread: the log is to be closed.
    void end_walks() noexcept { _end_of_walks->request(); }
    /// Closes the files that only reads need, if there was no read since the last call.
    void close_idle_reads() noexcept;
    /// Closes the files of a log that is stopped, and gives its place back to others. Reads go on.
    future<> let_go();
    /// Ends a stop: cuts or rewrites, and syncs, what was not acknowledged, as at a start.
    future<> reopen();
    /// Waits for what was appended, seals the last segment and closes the files. Once.
    future<> close();

    const std::string& directory() const noexcept { return _directory; }
    const log_options& options() const noexcept { return _options; }
    const log_metrics& metrics() const noexcept { return _metrics; }
    std::size_t segment_count() const noexcept { return _segments.size(); }

  private:
    struct pending_append {
        std::span<std::byte> batches;
        std::vector<std::byte> owned;  // empty if they are borrowed
        std::int64_t base_offset;
        std::int64_t next_offset;
        promise<append_result> done;
    };
    /// One write on its way: the appends in it, and where the log will end.
    struct commit {
        std::vector<pending_append> appends;
        std::int64_t base_offset;
        std::int64_t next_offset;
        frozen_commit frozen;
    };

    log(std::string directory, log_options options, recent_memory& recent, read_ahead_memory* ahead,
        semaphore* mark_syncs, open_places* places, read_files* files, index_memory* indexes);

    // log.cc: the way of a record.
    future<append_result> append_in_line(std::span<std::byte> batches,
                                         std::vector<std::byte> owned);
    std::int64_t assign_offsets(std::span<std::byte> batches);
    void start_committing(gate::holder inside);
    future<> commit_pending(gate::holder inside);
    future<> commit_next();
    future<> write(std::size_t count);
    bool must_roll(const pending_append& first) noexcept;
    static bool ends_well(const segment& of) noexcept;
    static bool has_offsets_for(const segment& into, const pending_append& added) noexcept;
    std::size_t select_appends(std::size_t& bytes) const noexcept;
    commit freeze(std::size_t count);
    marked_end end_after(const commit& durable) const noexcept;
    void publish(commit& durable);
    void refuse(pending_append& each, const std::exception_ptr& why) noexcept;
    void refuse_pending(const std::exception_ptr& why) noexcept;
    void stop(const std::exception_ptr& why) noexcept;
    void notify() noexcept;

    // log_segments.cc: the files under it.
    future<> recover_segments(bool knows_its_end, abort_source* give_up = nullptr);
    future<> prepare_segment();
    future<> open_to_append();
    future<> roll();
    future<> seal_in_background(segment& old, std::unique_ptr<active_segment> file);
    future<> seal_file(segment& old, active_segment& file);
    future<> end_background_work();
    future<> seal_active(gate::holder inside, bool paced);
    future<bool> give_way_now(gate::holder inside);
    future<> close_files();
    future<> leave_unsealed();
    future<> seal_left_open();
    future<> seal_for_good(segment& whole);
    void tell_unsealed(const char* cause) noexcept;
    future<> look_through(std::int64_t base_offset, bool paced);
    bool has_unsealed() const noexcept;

    // log_marks.cc: the mark of what is acknowledged.
    marked_end whole_end() const noexcept;
    future<> open_mark();
    future<> close_mark();
    void sync_mark_later(std::size_t bytes) noexcept;
    future<> sync_mark_in_time(gate::holder inside);
    future<> sync_mark(gate::holder inside);
    future<> mark_synced();

    // log_read.cc
    struct range {
        std::int64_t base_offset;  // of the segment
        std::uint64_t position;    // in its file, of a batch
        std::uint64_t end;
        std::int64_t starts_at;  // first offset of that batch; -1: not known
        std::int64_t ends_at;    // its last; -1: not known
    };
    /// What a range holds for a read: batches, or where to look on.
    struct window {
        std::span<const std::byte> batches;
        std::uint64_t position = 0;     // of the first batch that is not whole
        std::size_t wanted = 0;         // bytes that it needs
        std::int64_t next_offset = -1;  // its first offset
        std::size_t first_bytes = 0;    // its size, if it is the first to hand out, else 0
        bool damaged = false;           // there, and nothing before it is to be handed out
    };
    segment* segment_of(std::int64_t offset) const noexcept;
    future<std::shared_ptr<io::file>> file_for(std::int64_t base_offset);
    future<std::shared_ptr<const segment_index>> index_of(std::int64_t base_offset,
                                                          gate::holder inside);
    future<segment_index> make_index(std::int64_t base_offset);
    bool is_the_last(const segment& of) const noexcept { return &of == _segments.back().get(); }
    /// Where a read may begin: a batch of which one of the two is known.
    struct known_batch {
        batch_place at;            // its first offset; -1: not known
        std::int64_t last_offset;  // -1: not known
    };
    future<disk_read> read_on(std::int64_t offset, std::size_t max_bytes, std::size_t first_max,
                              gate::holder inside);
    void follow(batch_place next, bool again, std::size_t max_bytes);
    future<disk_read> read_ahead_at(batch_place at, std::size_t max_bytes, gate::holder inside);
    future<disk_read> read_from_disk(known_batch start, std::int64_t offset, std::size_t max_bytes,
                                     std::size_t first_max = SIZE_MAX);
    future<std::optional<timestamp_position>> find_in_batch(const protocol::batch_view& batch,
                                                            std::int64_t timestamp,
                                                            std::size_t opened_max,
                                                            semaphore* openings);
    window look_at(const range& of, std::span<const std::byte> bytes, std::int64_t offset,
                   std::size_t max_bytes);
    error damaged_read(std::int64_t base_offset, std::uint64_t position);

    const std::string _directory;
    const log_options _options;
    log_metrics _metrics;

    segment_list _segments;
    std::unique_ptr<active_segment> _active;  // of _segments.back(); null while that is sealed
    instant _last_commit{};
    std::uint64_t _reads_seen = 0;  // by close_idle_reads()
    semaphore _walks{1};
    std::shared_ptr<abort_source> _end_of_walks;  // of look_through(); as _background
    std::weak_ptr<abort_source> _pace;            // of the walk under way, if it is a paced one
    bool _roll_due = false;  // until it succeeds: the new file may exist, and bear this end's name
    future<> _sealing;       // of the segment before; empty when there is none
    open_places* const _places;
    semaphore_units _place;  // while it may have files open to append to
    instant _active_since{};
    bool _must_give_way = false;  // between two commits
    read_files _own_files{2};
    read_files& _read_files;
    index_memory _own_indexes{std::size_t{1} << 20};
    index_memory& _indexes;

    std::unique_ptr<log_mark> _mark;  // open while _active may be written
    semaphore* const _mark_syncs;
    std::unique_ptr<abort_source> _end_of_waits;  // for the next sync; as _background
    bool _mark_waits = false;                     // until mark_sync_wait_max is over
    bool _mark_syncing = false;
    bool _mark_awaited = false;  // by mark_synced()
    promise<> _mark_synced;

    std::int64_t _next_offset = 0;  // of the next append
    std::int64_t _end_offset = 0;   // durable
    std::deque<pending_append> _pending;
    std::deque<promise<>> _waiting_for_room;
    bool _committing = false;
    future<> _overlapping;  // used by a deliberate bug only
    recent_batches _recent;
    read_ahead _ahead;
    boost::intrusive::list<end_listener, boost::intrusive::constant_time_size<false>> _listeners;

    std::exception_ptr _failure;
    std::unique_ptr<gate> _background;  // commits; a new one after reopen()
    gate _readers;
    bool _closed = false;
};

}  // namespace weir::broker
