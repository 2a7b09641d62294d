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

/// Reads a range of a file, in order. It asks what the file is before it reads: of one that knows
/// its size it asks for what is there and no more, one buffer first and then some ahead of its
/// reader; of others that have offsets (/proc, devices) one piece after the other until nothing
/// comes; and of pipes and terminals what comes next, as soon as it comes. Works on files opened
/// with and without O_DIRECT. close() must have ended before its destruction.
/// thread   one shard; one read() at a time
/// cost     one question; then as many reads as the range has buffers
class input_stream {
  public:
    static constexpr std::uint64_t to_the_end = UINT64_MAX;

    /// To the end that the file has at the first read().
    /// from     stays open, and where it is, until close() has ended
    /// offset   a multiple of the buffer's alignment (4 KiB) for O_DIRECT
    explicit input_stream(file& from, std::uint64_t offset = 0, stream_options options = {});
    /// length   at most so many bytes
    input_stream(file& from, std::uint64_t offset, std::uint64_t length,
                 stream_options options = {});
    input_stream(const input_stream&) = delete;
    input_stream& operator=(const input_stream&) = delete;
    ~input_stream();

    /// The next bytes of the range; empty at its end, and from then on.
    /// fails    weir::error, for this part of the file and all after it
    future<buffer> read();
    /// A read() that waits, for a pipe or its turn, ends soon: as at the end of the file.
    void stop() noexcept { _give_up.request(); }
    /// Ends the reads that are ahead.
    future<> close();

  private:
    /// How the file is read; see above.
    enum class way : std::uint8_t { unknown, ahead, one_by_one, in_order };
    struct piece {
        buffer memory;
        std::size_t wanted;  // less than the memory where O_DIRECT asks for whole pages
        future<std::size_t> count;
    };
    future<> begin();
    void read_ahead();
    piece next_piece();
    future<buffer> take_first();
    future<> drop_ahead();
    buffer fitting(buffer memory, std::size_t size);

    file& _file;
    const stream_options _options;
    std::uint64_t _next;  // where the next read ahead begins
    std::uint64_t _stop;  // where the range ends
    way _way = way::unknown;
    unsigned _depth = 1;       // grows up to _options.depth as the reader goes on
    std::size_t _piece_bytes;  // of a read; grows likewise where no size is known
    std::deque<piece> _ahead;  // in the order of the file
    buffer _spare;
    std::exception_ptr _failure;
    bool _end = false;
    bool _closed = false;
    abort_source _give_up;
};

/// Writes a file from an offset on, without waiting for each write: full buffers are written
/// behind, some at a time. A pipe or device without offsets gets them one after the other, and
/// flush() does not sync it. The first failure is told by the next call, and nothing is written
/// after it. close() must have ended before its destruction.
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
    future<> begin();
    future<> start_write(bool padded);
    future<> wait_for_one();
    future<> wait_for_all();
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
    bool _begun = false;
    bool _in_order = false;  // it has no offsets
    bool _closed = false;
};

}  // namespace weir::io
