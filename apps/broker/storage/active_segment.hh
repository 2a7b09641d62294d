// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <broker/storage/options.hh>
#include <broker/storage/recent_batches.hh>
#include <broker/storage/segment.hh>
#include <broker/storage/tail_copy.hh>

#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::broker {

/// The frozen copy of what one write takes to the device: the tail page as it stands, the new
/// batches, zeros to the end of the page.
struct frozen_commit {
    std::shared_ptr<io::aligned_buffer> pages;
    std::uint64_t position;              ///< of `pages` in the file: a page's start
    std::span<const std::byte> batches;  ///< what is new, in `pages`
    std::uint64_t batches_position;      ///< of `batches` in the file
};

/// The file that a log appends to. It is zeroed ahead and that is synced before data enters: a
/// write of data is one O_DIRECT|O_DSYNC write that changes no metadata. A large write goes to
/// space that is only reserved: what the sync of metadata costs is less than writing all twice.
/// thread   one shard; one write() at a time
class active_segment {
  public:
    /// Makes the file, its first zeros and its name durable, in this order: a file of that name has
    /// zeros behind its data.
    static future<std::unique_ptr<active_segment>> create(std::string directory,
                                                          std::int64_t base_offset,
                                                          const log_options& options,
                                                          log_metrics& metrics);
    /// Opens the file of a segment that is sealed, or that a start left open, and puts durable
    /// zeros behind its data.
    static future<std::unique_ptr<active_segment>> resume(std::string directory, const segment& of,
                                                          const log_options& options,
                                                          log_metrics& metrics);

    /// Where the next batch goes.
    std::uint64_t end() const noexcept { return _end; }
    const std::string& path() const noexcept { return _file.path(); }

    /// Waits until there is space for `bytes` more.
    /// fails    ENOSPC: nothing has changed, and it may be tried again; else as the disk does
    future<> make_room(std::uint64_t bytes);
    /// Copies batches, for which there is room, behind what has been frozen before.
    frozen_commit freeze(std::span<const std::span<const std::byte>> batches);
    /// Writes a frozen commit: durable when the future is there. Starts to zero further ahead in
    /// the background when little is left.
    future<> write(const frozen_commit& commit);

    /// Waits until no zeros are under way. A power cut may leave anything where they were to go,
    /// which recovery takes for a torn commit only at the end of the last segment: so this comes
    /// before another segment follows.
    future<> settle();
    /// Copies the tail page, if the options have it: sealing cuts the file, for which a file system
    /// may write that page again. All that was frozen must be durable.
    future<> prepare_to_seal();
    /// Waits for what is under way and closes the files.
    future<> close();

  private:
    active_segment(io::file file, std::uint64_t end, std::uint64_t zeroed,
                   const log_options& options, log_metrics& metrics);

    future<> copy_tail(std::uint64_t position, std::span<const std::byte> bytes);
    future<> copy_and_write(const frozen_commit& commit);
    future<> zero_ahead(std::uint64_t until);
    future<> reserve(std::uint64_t needed);
    /// Whether zeroing is under way; forgets one that has ended.
    bool zeroing();
    std::uint64_t next_zeroed_end(std::uint64_t needed) const noexcept;
    std::uint64_t zero_limit() const noexcept;

    io::file _file;  // O_DIRECT | O_DSYNC
    std::uint64_t _end;
    std::uint64_t _zeroed;        // zeros are durable up to here
    std::uint64_t _reserved = 0;  // or behind _zeroed: space up to here is the file's
    std::uint64_t _step;
    future<> _zeroing;  // under way or failed; empty when there is none
    io::aligned_buffer _tail_page;
    std::unique_ptr<tail_copy> _copy;  // null without log_options::tail_copy
    std::uint64_t _copied_end = 0;     // what _copy holds ends here
    const log_options& _options;
    log_metrics& _metrics;
};

}  // namespace weir::broker
