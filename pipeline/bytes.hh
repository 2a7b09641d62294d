// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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

namespace detail {

/// Bytes of a stream: lent by the shard that read them, until somebody wants a copy, which is
/// nobody's. So what moves stays where it was made, and a copy may go anywhere.
class lent_bytes {
  public:
    explicit lent_bytes(buffer lent) noexcept
        : _lent(std::move(lent)), _data(_lent.data()), _size(_lent.size()) {}
    lent_bytes(const lent_bytes& other)
        : _own(std::make_unique_for_overwrite<std::byte[]>(other._size)),
          _data(_own.get()),
          _size(other._size) {
        std::ranges::copy(other.bytes(), _own.get());
    }
    lent_bytes(lent_bytes&& other) noexcept
        : _lent(std::move(other._lent)),
          _own(std::move(other._own)),
          _data(std::exchange(other._data, nullptr)),
          _size(std::exchange(other._size, 0)) {}
    lent_bytes& operator=(lent_bytes other) noexcept {
        std::swap(_lent, other._lent);
        std::swap(_own, other._own);
        std::swap(_data, other._data);
        std::swap(_size, other._size);
        return *this;
    }
    ~lent_bytes() = default;

    std::span<const std::byte> bytes() const noexcept { return {_data, _size}; }
    std::string_view text() const noexcept { return {reinterpret_cast<const char*>(_data), _size}; }

  private:
    buffer _lent;
    std::unique_ptr<std::byte[]> _own;
    const std::byte* _data;
    std::size_t _size;
};

}  // namespace detail

/// Some bytes of a stream, in the memory that they were read into, and where they begin.
/// thread   read by any stage. What the source gave goes where it was read, as elements do; a copy
///          has memory of its own and may be used and destroyed on any shard
/// cost     a move is cheap; a copy copies the bytes. Of the combinators only filter and window
///          copy their elements
class block {
  public:
    block(buffer bytes, std::uint64_t offset) noexcept
        : _bytes(std::move(bytes)), _offset(offset) {}

    std::span<const std::byte> bytes() const noexcept { return _bytes.bytes(); }
    std::string_view text() const noexcept { return _bytes.text(); }
    // NOLINTNEXTLINE(google-explicit-constructor): it is its text
    operator std::string_view() const noexcept { return text(); }
    std::size_t size() const noexcept { return _bytes.bytes().size(); }
    /// Of its first byte in the stream.
    std::uint64_t offset() const noexcept { return _offset; }
    /// The cursor: a source that starts here gives what follows.
    std::uint64_t next_offset() const noexcept { return _offset + size(); }

  private:
    detail::lent_bytes _bytes;
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

    std::string_view text() const noexcept { return _bytes.text(); }
    // NOLINTNEXTLINE(google-explicit-constructor): it is its text
    operator std::string_view() const noexcept { return text(); }
    std::uint64_t offset() const noexcept { return _offset; }
    /// The cursor: a source that starts here gives the lines that follow.
    std::uint64_t next_offset() const noexcept {
        return _offset + text().size() + static_cast<std::uint64_t>(_newline);
    }
    /// False for the last line of a stream that ends without one.
    bool newline() const noexcept { return _newline; }

  private:
    detail::lent_bytes _bytes;
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
    /// A write that is under way should end soon, however it ends.
    virtual void stop() noexcept {}
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
    void stop() noexcept { _to->stop(); }
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
    void stop() noexcept { _to->stop(); }
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
    void stop() noexcept override { _to.stop(); }
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
    void stop() noexcept override { _to.stop(); }
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
