// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <sys/uio.h>

#include <weir/core/buffer.hh>
#include <weir/core/future.hh>
#include <weir/pipeline/ends.hh>

// Bytes at the ends of pipelines: what files, pipes, terminals and sockets have in common.
namespace weir::pipeline {

/// Some bytes of a stream, in the memory that they were read into, and where they begin.
/// thread   read by any stage; copied and destroyed on one shard, as a buffer
/// cost     a move is cheap; a copy copies the bytes, since another shard can't share the memory.
///          Of the combinators only filter and window copy their elements
class block {
  public:
    block(buffer bytes, std::uint64_t offset) noexcept
        : _bytes(std::move(bytes)), _offset(offset) {}
    block(const block& other)
        : _bytes(buffer::copy_of(other._bytes.bytes())), _offset(other._offset) {}
    block(block&&) noexcept = default;
    block& operator=(block other) noexcept {
        std::swap(_bytes, other._bytes);
        _offset = other._offset;
        return *this;
    }
    ~block() = default;

    std::span<const std::byte> bytes() const noexcept { return _bytes.bytes(); }
    std::string_view text() const noexcept { return _bytes.text(); }
    // NOLINTNEXTLINE(google-explicit-constructor): it is its text
    operator std::string_view() const noexcept { return text(); }
    std::size_t size() const noexcept { return _bytes.size(); }
    /// Of its first byte in the stream.
    std::uint64_t offset() const noexcept { return _offset; }
    /// The cursor: a source that starts here gives what follows.
    std::uint64_t next_offset() const noexcept { return _offset + size(); }

  private:
    buffer _bytes;
    std::uint64_t _offset;
};

/// One line of a stream without its newline. It lies where it was read, unless it began in one
/// read and ended in another.
/// thread   as a block
/// cost     as a block
class line {
  public:
    line(buffer bytes, std::uint64_t offset, bool newline) noexcept
        : _bytes(std::move(bytes)), _offset(offset), _newline(newline) {}
    line(const line& other)
        : _bytes(buffer::copy_of(other._bytes.bytes())),
          _offset(other._offset),
          _newline(other._newline) {}
    line(line&&) noexcept = default;
    line& operator=(line other) noexcept {
        std::swap(_bytes, other._bytes);
        _offset = other._offset;
        _newline = other._newline;
        return *this;
    }
    ~line() = default;

    std::string_view text() const noexcept { return _bytes.text(); }
    // NOLINTNEXTLINE(google-explicit-constructor): it is its text
    operator std::string_view() const noexcept { return text(); }
    std::uint64_t offset() const noexcept { return _offset; }
    /// The cursor: a source that starts here gives the lines that follow.
    std::uint64_t next_offset() const noexcept {
        return _offset + _bytes.size() + static_cast<std::uint64_t>(_newline);
    }
    /// False for the last line of a stream that ends without one.
    bool newline() const noexcept { return _newline; }

  private:
    buffer _bytes;
    std::uint64_t _offset;
    bool _newline;
};

/// Reads a stream of bytes, for a source.
/// thread   its source's shard
class byte_reader {
  public:
    virtual ~byte_reader() = default;
    /// The next bytes, as soon as there are some; empty at the end. One at a time.
    /// fails    weir::error
    virtual future<buffer> read() = 0;
    /// A read that is under way should end soon, however it ends.
    virtual void stop() noexcept {}
    /// No read is under way.
    virtual future<> close() = 0;
};
using make_reader = std::function<std::unique_ptr<byte_reader>()>;

/// Writes a stream of bytes, for a sink.
/// thread   its sink's shard
class byte_writer {
  public:
    virtual ~byte_writer() = default;
    /// Writes all of it; one at a time.
    /// parts    at most byte_parts_max; they and their bytes are borrowed until it is settled
    /// fails    weir::error
    virtual future<> write(std::span<const iovec> parts) = 0;
    /// No write is under way.
    virtual future<> close() = 0;
};
using make_writer = std::function<std::unique_ptr<byte_writer>()>;

inline constexpr std::size_t byte_parts_max = 16;

struct line_options {
    std::size_t line_bytes_max = std::size_t(1) << 20;  ///< a longer one fails the stream
};

/// The reads of a stream as elements.
/// offset   of its first byte
source_of<block> blocks_from(std::string name, make_reader make, std::uint64_t offset = 0);
/// The lines of a stream. What follows the last newline is a line unless it is empty.
/// subject  what the stream is, for errors
source_of<line> lines_from(std::string name, std::string subject, make_reader make,
                           line_options options = {}, std::uint64_t offset = 0);

namespace detail {

/// Collects small texts and writes them behind the sink's back, one write at a time: what comes
/// meanwhile goes with the next.
class gathering {
  public:
    static constexpr std::size_t bytes_max = 128 * 1024;  // that wait for a write

    explicit gathering(std::unique_ptr<byte_writer> to) : _to(std::move(to)) {}

    /// returns  false if it must come again after wait()
    /// fails    as an earlier write did
    bool add(std::string_view text, bool newline);
    void begin();
    future<> wait();
    future<> close();

  private:
    future<> write_all();

    const std::unique_ptr<byte_writer> _to;
    std::string _filling;
    std::string _under_way;
    std::exception_ptr _failure;
    bool _busy = false;
    promise<> _written;
};

/// Writes large texts out of the ring, where they stay until they are written.
class direct_writing {
  public:
    explicit direct_writing(std::unique_ptr<byte_writer> to) : _to(std::move(to)) {}

    /// Empties what was collected for the write that has ended.
    /// returns  how many texts it wrote
    /// fails    as it did
    std::size_t take_written();
    bool busy() const noexcept { return _writing.valid() && !_writing.available(); }
    bool full() const noexcept { return _count == byte_parts_max; }
    void add(std::string_view text) noexcept;
    void begin();
    future<> wait();
    future<> close();

  private:
    const std::unique_ptr<byte_writer> _to;
    iovec _parts[byte_parts_max];
    std::size_t _count = 0;
    future<> _writing;  // the last write, until its end was looked at
};

template <typename T>
class line_sink final : public sink {
  public:
    explicit line_sink(std::unique_ptr<byte_writer> to) : _to(std::move(to)) {}

    std::size_t take(const lane* in, std::size_t n) override {
        std::size_t taken = 0;
        while (taken < n && _to.add(shape<T>::load(in, taken), true)) {
            ++taken;
        }
        _to.begin();
        return taken;
    }
    future<> wait() override { return _to.wait(); }
    future<> close() override { return _to.close(); }

  private:
    gathering _to;
};

template <typename T>
class block_sink final : public sink {
  public:
    explicit block_sink(std::unique_ptr<byte_writer> to) : _to(std::move(to)) {}

    std::size_t take(const lane* in, std::size_t n) override {
        if (_to.busy()) {
            return 0;
        }
        const std::size_t written = _to.take_written();
        for (std::size_t i = written; i < n && !_to.full(); ++i) {
            _to.add(shape<T>::load(in, i));
        }
        _to.begin();
        return written;
    }
    future<> wait() override { return _to.wait(); }
    future<> close() override { return _to.close(); }

  private:
    direct_writing _to;
};

template <typename T>
constexpr void check_text() {
    static_assert(std::is_convertible_v<ref<T>, std::string_view>,
                  "only text can be written: map the elements to std::string before");
}

}  // namespace detail

/// Writes each element, which is text, and a newline.
inline auto lines_to(std::string name, make_writer make) {
    return sink_for{std::move(name), [make = std::move(make)]<typename T>() {
                        detail::check_text<T>();
                        return std::function<std::unique_ptr<sink>()>(
                            [make] { return std::make_unique<detail::line_sink<T>>(make()); });
                    }};
}

/// Writes the elements, which are blocks or other texts, one after the other, from where they
/// are: they are not copied, and not given back before they are written.
inline auto blocks_to(std::string name, make_writer make) {
    return sink_for{std::move(name), [make = std::move(make)]<typename T>() {
                        detail::check_text<T>();
                        return std::function<std::unique_ptr<sink>()>(
                            [make] { return std::make_unique<detail::block_sink<T>>(make()); });
                    }};
}

}  // namespace weir::pipeline
