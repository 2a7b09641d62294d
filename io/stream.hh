// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <span>

#include <weir/core/buffer.hh>
#include <weir/core/future.hh>
#include <weir/io/file.hh>

namespace weir::io {

struct stream_options {
    std::size_t buffer_bytes = 128 * 1024;  ///< of one read or write; a multiple of 4 KiB
    unsigned depth = 4;                     ///< reads ahead, or writes behind, under way at most
};

/// Reads a file from an offset to its end, some buffers ahead of its reader. Works on files opened
/// with and without O_DIRECT. close() must have ended before its destruction.
/// thread   one shard; one read() at a time
class input_stream {
  public:
    /// from     stays open, and where it is, until close() has ended
    /// offset   a multiple of the buffer's alignment (4 KiB) for O_DIRECT
    explicit input_stream(file& from, std::uint64_t offset = 0, stream_options options = {});
    input_stream(const input_stream&) = delete;
    input_stream& operator=(const input_stream&) = delete;
    ~input_stream();

    /// The next bytes of the file; empty at its end, and from then on.
    /// fails    weir::error, for this part of the file and all after it
    future<buffer> read();
    /// Waits for the reads that are ahead.
    future<> close();

  private:
    struct ahead {
        buffer memory;
        future<std::size_t> count;
    };
    void read_ahead();
    future<> drop_ahead();

    file& _file;
    const stream_options _options;
    std::uint64_t _next;       // where the next read ahead begins
    std::deque<ahead> _ahead;  // in the order of the file
    std::exception_ptr _failure;
    bool _end = false;
    bool _closed = false;
};

/// Writes a file from an offset on, without waiting for each write: full buffers are written
/// behind, some at a time. The first failure is told by the next call, and nothing is written after
/// it. close() must have ended before its destruction.
/// thread   one shard; one call at a time
class output_stream {
  public:
    /// to       stays open, and where it is, until close() has ended
    /// offset   a multiple of the buffer's alignment (4 KiB) for O_DIRECT
    explicit output_stream(file& to, std::uint64_t offset = 0, stream_options options = {});
    output_stream(const output_stream&) = delete;
    output_stream& operator=(const output_stream&) = delete;
    ~output_stream();

    /// Takes all bytes; waits only while `depth` writes are under way.
    /// fails    as the first write that failed
    future<> write(std::span<const std::byte> bytes);
    /// Writes what is buffered, waits for every write, and syncs: then all of it is durable. What
    /// is left of a page stays buffered too, to be written again with what follows.
    /// fails    as the first write or sync that failed
    future<> flush();
    /// flush(), and cuts the file to what was written.
    future<> close();

    /// Bytes that write() took.
    std::uint64_t size() const noexcept { return _start + _written; }

  private:
    future<> start_write(bool padded);
    future<> wait_for_one();
    void check() const;

    file& _file;
    const stream_options _options;
    const std::uint64_t _start;
    std::uint64_t _written = 0;  // taken from the caller
    std::uint64_t _position;     // of the buffer that is being filled
    buffer _filling;
    std::size_t _filled = 0;
    std::deque<future<>> _behind;
    std::exception_ptr _failure;
    bool _closed = false;
};

}  // namespace weir::io
