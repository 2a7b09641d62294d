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

    static future<file> open(std::string path, options how);

    /// Reads up to `into.size()` bytes at `offset`; short only at the end of the file.
    /// give_up  once triggered, what still waits for its turn at the device never starts; not
    ///          null: outlives the call
    /// returns  the count
    /// fails    with the reason of `give_up`, too
    future<std::size_t> read(std::uint64_t offset, std::span<std::byte> into,
                             abort_source* give_up = nullptr);
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
    /// fails    with what the kernel said, or with the failure that stopped the file
    future<> close();

    const std::string& path() const noexcept { return _path; }
    bool is_open() const noexcept { return _fd >= 0; }
    /// Whether a failed sync has stopped this file.
    bool stopped() const noexcept { return _stopped; }

  private:
    file(int fd, std::string path, const options& how) noexcept;
    future<> write_all(std::uint64_t offset, std::span<iovec> from, abort_source* give_up);
    void check_usable(const char* operation) const;

    int _fd = -1;
    bool _direct = false;
    bool _data_sync = false;
    bool _stopped = false;
    std::string _path;
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
