// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/io/op.hh>

namespace weir::io {

/// Memory aligned for O_DIRECT. Sized once.
class aligned_buffer {
  public:
    static constexpr std::size_t alignment = 4096;

    aligned_buffer() = default;
    /// bytes  rounded up to the alignment; the contents are zero
    explicit aligned_buffer(std::size_t bytes);
    /// For who writes all of it at once: only what rounding up added is zero, the rest is not set.
    static aligned_buffer unset(std::size_t bytes);

    std::byte* data() noexcept { return _data.get(); }
    const std::byte* data() const noexcept { return _data.get(); }
    std::size_t size() const noexcept { return _size; }
    std::span<std::byte> span() noexcept { return {data(), _size}; }
    std::span<const std::byte> span() const noexcept { return {data(), _size}; }

  private:
    struct free_aligned {
        void operator()(std::byte* memory) const noexcept;
    };
    std::unique_ptr<std::byte, free_aligned> _data;
    std::size_t _size = 0;
};

/// An open file. Every failure names the operation and the path. A sync that failed, or a
/// data_sync write that did, fails the file for good: the kernel may have dropped what it could
/// not write, so a later success would lie. Close it, reopen it and read what is there.
///
/// It may be moved, closed or destroyed while operations are under way: its descriptor is closed
/// when the last of them has ended, so that none ever meets another file under the same number.
/// Large reads and writes go in pieces of budget_options::operation_bytes_max, and others have
/// their turns between them.
/// thread   one shard
class file {
  public:
    struct options {
        op::access mode = op::access::read;
        bool create = false;
        bool exclusive = false;
        bool truncate = false;
        bool direct = false;
        bool data_sync = false;
    };

    file() = default;
    file(file&& other) noexcept;
    file& operator=(file&& other) noexcept;
    /// An open file is closed in the background; close() tells how that went.
    ~file();

    /// give_up  ends the wait for the other end of a FIFO; not null: outlives the call
    static future<file> open(std::string path, options how, abort_source* give_up = nullptr);

    /// Reads up to `into.size()` bytes at `offset`; short only at the end of the file.
    /// give_up  once triggered, what still waits for its turn at the device never starts; not
    ///          null: outlives the call
    /// returns  the count
    /// fails    with the reason of `give_up`, too
    future<std::size_t> read(std::uint64_t offset, std::span<std::byte> into,
                             abort_source* give_up = nullptr);
    /// Reads what comes next where there are no offsets (op::file_status::by_position): in a pipe
    /// or a terminal. One at a time.
    /// give_up  ends the wait for the next byte; not null: outlives the call
    /// returns  the count, as soon as there is something; 0 at the end, or if `into` is empty
    future<std::size_t> read_next(std::span<std::byte> into, abort_source* give_up = nullptr);
    /// Writes all of `from` where there are no offsets. One at a time.
    future<> write_next(std::span<const std::byte> from, abort_source* give_up = nullptr);
    /// Writes all of `from` at `offset`, going on after short writes.
    /// give_up  as in read(); what was not written then is as it was, and the file goes on
    future<> write(std::uint64_t offset, std::span<const std::byte> from,
                   abort_source* give_up = nullptr);
    /// Writes all of the vectors, at most IOV_MAX of them. They are copied; what they point to is
    /// borrowed until the future is settled.
    future<> write(std::uint64_t offset, std::vector<iovec> from);
    /// Makes written data durable (fdatasync), and with `metadata` all else (fsync).
    future<> sync(bool metadata = false);
    /// Reserves space; the range reads as zeros and the size grows to cover it.
    future<> allocate(std::uint64_t offset, std::uint64_t length);
    future<> truncate(std::uint64_t size);
    /// Locks the file against other processes until it is closed.
    /// returns  false if another has it open and locked
    future<bool> lock();
    future<std::uint64_t> size();
    future<op::file_status> status();
    /// Waits for what is under way, then closes. Nothing may be started from here on (asserted).
    /// fails    with what the kernel said, or with the failure that stopped the file
    future<> close();

    const std::string& path() const noexcept;
    /// Until close() is called.
    bool is_open() const noexcept;
    /// Whether it was opened for direct I/O.
    bool direct() const noexcept;
    /// Whether a failed sync has stopped this file.
    bool stopped() const noexcept;
    /// Operations that have begun and not ended.
    unsigned under_way() const noexcept;

  private:
    friend future<> sync_directory(std::string path);
    struct open_file;
    class use;

    explicit file(open_file* opened) noexcept : _opened(opened) {}
    static future<std::size_t> read_piece_by_piece(use of, std::uint64_t offset,
                                                   std::span<std::byte> into,
                                                   abort_source* give_up);
    static future<std::size_t> read_large(use of, std::uint64_t offset, std::span<std::byte> into,
                                          abort_source* give_up);
    static future<> write_all(const use& of, std::uint64_t offset, std::span<iovec> from,
                              abort_source* give_up);

    open_file* _opened = nullptr;  // counted: the operations under way keep it, too
};

/// Makes the entries of a directory durable: after a create, rename or unlink in it.
future<> sync_directory(std::string path);
future<> rename(std::string from, std::string to);
/// fails    ENOENT too
future<> unlink(std::string path);
/// Makes a directory; one that is there already is fine.
future<> make_directory(std::string path);
/// Makes a directory and those above it, durably: even if a process died here before its sync.
future<> make_directories(std::string path);
future<std::vector<std::string>> list_directory(std::string path);
/// returns  whether there is something at `path`
future<bool> exists(std::string path);

}  // namespace weir::io
