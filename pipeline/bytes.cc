// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/bytes.hh>

#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>

namespace weir::pipeline {

namespace {

/// A reader for a source, which must not wait where it fills.
class reading {
  public:
    explicit reading(std::unique_ptr<byte_reader> from) : _from(std::move(from)) {}

    /// Begins a read if none is under way.
    /// returns  its bytes if they are there
    /// fails    as it did
    std::optional<buffer> next() {
        if (!_under_way.valid()) {
            _under_way = _from->read();
        }
        return _under_way.available() ? std::optional(_under_way.take()) : std::nullopt;
    }
    /// Ready when next() gives something or fails.
    future<> wait() {
        if (_under_way.valid()) {
            co_await settled(_under_way);
        }
    }
    void stop() noexcept { _from->stop(); }
    future<> close() {
        _from->stop();
        if (_under_way.valid()) {
            co_await settled(_under_way);
            std::exchange(_under_way, {}).ignore();
        }
        co_await _from->close();
    }

  private:
    const std::unique_ptr<byte_reader> _from;
    future<buffer> _under_way;
};

class block_source final : public source {
  public:
    block_source(std::unique_ptr<byte_reader> from, std::uint64_t offset)
        : _from(std::move(from)), _offset(offset) {}

    void fill(const slot_lane* out, std::size_t room, source_step& done) override {
        while (done.produced < room && !done.ended) {
            std::optional<buffer> next = _from.next();
            if (!next) {
                break;
            }
            if (next->empty()) {
                done.ended = true;
            } else {
                const std::size_t size = next->size();
                shape<block>::store(out, done.produced++, block(std::move(*next), _offset));
                _offset += size;
            }
        }
    }
    future<> wait() override { return _from.wait(); }
    void stop() noexcept override { _from.stop(); }
    future<> close() override { return _from.close(); }

  private:
    reading _from;
    std::uint64_t _offset;
};

class line_source final : public source {
  public:
    line_source(std::unique_ptr<byte_reader> from, std::string subject, line_options options,
                std::uint64_t offset)
        : _from(std::move(from)),
          _subject(std::move(subject)),
          _options(options),
          _offset(offset) {}

    void fill(const slot_lane* out, std::size_t room, source_step& done) override {
        while (done.produced < room) {
            if (_bytes.empty() && !more()) {
                break;
            }
            if (_end) {
                if (_begun.empty()) {
                    done.ended = true;
                    break;
                }
                give(out, done, _bytes, false);
                continue;
            }
            const void* const found = std::memchr(_bytes.data(), '\n', _bytes.size());
            const std::size_t size =
                found == nullptr ? _bytes.size()
                                 : static_cast<std::size_t>(static_cast<const std::byte*>(found) -
                                                            _bytes.data());
            if (_begun.size() + size > _options.line_bytes_max) {
                throw error("read",
                            fmt::format("{}: the line at byte {} is longer than {} bytes", _subject,
                                        _offset, _options.line_bytes_max),
                            errc::limit_exceeded);
            }
            if (found == nullptr) {
                _begun += _bytes.text();
                _bytes = {};
            } else {
                const buffer text = _bytes.slice(0, size);
                _bytes.remove_prefix(size + 1);
                give(out, done, text, true);
            }
        }
    }
    future<> wait() override { return _from.wait(); }
    void stop() noexcept override { _from.stop(); }
    future<> close() override { return _from.close(); }

  private:
    /// returns  whether there are bytes, or the end
    bool more() {
        if (_end) {
            return true;
        }
        std::optional<buffer> next = _from.next();
        if (!next) {
            return false;
        }
        _end = next->empty();
        _bytes = std::move(*next);
        return true;
    }

    void give(const slot_lane* out, source_step& done, buffer text, bool newline) {
        if (!_begun.empty()) {
            _begun += text.text();
            text = buffer::copy_of(_begun);
            _begun.clear();
        }
        line given(std::move(text), _offset, newline);
        _offset = given.next_offset();
        shape<line>::store(out, done.produced++, std::move(given));
    }

    reading _from;
    const std::string _subject;
    const line_options _options;
    std::uint64_t _offset;  // of the next line
    buffer _bytes;          // read, and not given
    std::string _begun;     // of a line that has no end yet
    bool _end = false;
};

}  // namespace

source_of<block> blocks_from(std::string name, make_reader make, std::uint64_t offset) {
    return {std::move(name), [make = std::move(make), offset] {
                return std::make_unique<block_source>(make(), offset);
            }};
}

source_of<line> lines_from(std::string name, std::string subject, make_reader make,
                           line_options options, std::uint64_t offset) {
    return {std::move(name),
            [make = std::move(make), subject = std::move(subject), options, offset] {
                return std::make_unique<line_source>(make(), subject, options, offset);
            }};
}

namespace detail {

bool gathering::add(std::string_view text, bool newline) {
    if (_failure) {
        std::rethrow_exception(_failure);
    }
    if (_filling.size() >= bytes_max) {
        begin();
        if (_filling.size() >= bytes_max) {
            return false;
        }
    }
    _filling += text;
    if (newline) {
        _filling += '\n';
    }
    return true;
}

void gathering::begin() {
    if (!_busy && !_failure && !_filling.empty()) {
        write_all().ignore();  // it keeps its failure
    }
}

future<> gathering::write_all() {
    _busy = true;
    do {
        _under_way.swap(_filling);
        _filling.clear();
        try {
            const iovec part{_under_way.data(), _under_way.size()};
            co_await _to->write({&part, 1});
        } catch (...) {
            _failure = std::current_exception();
        }
        if (_written.open()) {
            _written.set_value();
        }
    } while (!_filling.empty() && !_failure);
    _busy = false;
}

future<> gathering::wait() {
    if (!_busy) {
        return make_ready_future();
    }
    _written = {};
    return _written.get_future();
}

future<> gathering::close() {
    try {
        begin();
    } catch (...) {
        _failure = std::current_exception();
    }
    while (_busy) {
        co_await wait();
    }
    co_await _to->close();
    if (_failure) {
        std::rethrow_exception(_failure);
    }
}

std::size_t direct_writing::take_written() {
    if (_writing.valid()) {
        _writing.take();
    }
    return std::exchange(_count, 0);
}

void direct_writing::add(std::string_view text) noexcept {
    _parts[_count++] = {const_cast<char*>(text.data()), text.size()};
}

void direct_writing::begin() {
    if (_count != 0) {
        _writing = _to->write({_parts, _count});
    }
}

future<> direct_writing::wait() {
    if (_writing.valid()) {
        co_await settled(_writing);
    }
}

future<> direct_writing::close() {
    std::exception_ptr failure;
    if (_writing.valid()) {
        co_await settled(_writing);
        if (_writing.failed()) {
            failure = _writing.take_failure();
        }
    }
    co_await _to->close();
    if (failure) {
        std::rethrow_exception(std::move(failure));
    }
}

}  // namespace detail

}  // namespace weir::pipeline
