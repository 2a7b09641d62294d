// SPDX-License-Identifier: Apache-2.0
#include <weir/io/stream.hh>

#include <algorithm>
#include <cstring>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/await_all.hh>

namespace weir::io {

namespace {

constexpr std::size_t page = aligned_buffer::alignment;

void check_options(const stream_options& options) {
    WEIR_ASSERT(options.depth > 0);
    WEIR_ASSERT(options.buffer_bytes >= page && options.buffer_bytes % page == 0);
}

// The buffer lives in the frame, which is there before the write begins and until it has ended.
future<> write_kept(file& to, std::uint64_t position, buffer kept, std::size_t length) {
    co_await to.write(position, kept.bytes().first(length));
}

}  // namespace

input_stream::input_stream(file& from, std::uint64_t offset, stream_options options)
    : _file(from), _options(options), _next(offset) {
    check_options(options);
}

input_stream::~input_stream() {
    WEIR_ASSERT(_ahead.empty());
}

void input_stream::read_ahead() {
    while (!_end && !_failure && _ahead.size() < _options.depth) {
        buffer memory = buffer::allocate(_options.buffer_bytes, page);
        const std::span<std::byte> into = memory.writable();
        // Its place comes first: nothing may be read into memory that nobody keeps.
        _ahead.push_back({std::move(memory), {}});
        _ahead.back().count = futurize([&] { return _file.read(_next, into); });
        _next += _options.buffer_bytes;
    }
}

future<buffer> input_stream::read() {
    WEIR_ASSERT(!_closed);
    read_ahead();
    if (_ahead.empty()) {
        if (_failure) {
            std::rethrow_exception(_failure);
        }
        co_return buffer();
    }
    ahead first = std::move(_ahead.front());
    _ahead.pop_front();
    co_await settled(first.count);
    std::size_t count = 0;
    if (first.count.failed()) {
        _failure = first.count.take_failure();
    } else {
        count = first.count.take();
    }
    if (_failure || count < _options.buffer_bytes) {
        _end = true;
        co_await drop_ahead();  // behind a failure or the end there is nothing of use
    }
    if (_failure) {
        std::rethrow_exception(_failure);
    }
    read_ahead();
    first.memory.truncate(count);
    co_return std::move(first.memory);
}

future<> input_stream::close() {
    _closed = true;
    return drop_ahead();
}

future<> input_stream::drop_ahead() {
    while (!_ahead.empty()) {
        co_await settled(_ahead.front().count);
        std::move(_ahead.front().count).ignore();
        _ahead.pop_front();
    }
}

output_stream::output_stream(file& to, std::uint64_t offset, stream_options options)
    : _file(to), _options(options), _start(offset), _position(offset) {
    check_options(options);
}

output_stream::~output_stream() {
    WEIR_ASSERT(_behind.empty());
}

void output_stream::check() const {
    WEIR_ASSERT(!_closed);
    if (_failure) {
        std::rethrow_exception(_failure);
    }
}

future<> output_stream::write(std::span<const std::byte> bytes) {
    check();
    while (!bytes.empty()) {
        if (_filling.empty()) {
            _filling = buffer::allocate(_options.buffer_bytes, page);
        }
        const std::size_t count = std::min(bytes.size(), _filling.size() - _filled);
        std::memcpy(_filling.writable().data() + _filled, bytes.data(), count);
        bytes = bytes.subspan(count);
        _filled += count;
        _written += count;
        if (_filled == _filling.size()) {
            co_await start_write(false);
        }
    }
}

// Writes what is in the buffer, behind. A padded write goes to the end of the page, and leaves the
// last page's bytes in the next buffer, at the place where they belong.
future<> output_stream::start_write(bool padded) {
    while (_behind.size() >= _options.depth) {
        co_await wait_for_one();
    }
    buffer full = std::exchange(_filling, {});
    const std::size_t filled = std::exchange(_filled, 0);
    const std::size_t whole = filled / page * page;
    const std::size_t length = padded && whole < filled ? whole + page : filled;
    std::memset(full.writable().data() + filled, 0, length - filled);
    if (whole < filled) {
        _filling = buffer::allocate(_options.buffer_bytes, page);
        std::memcpy(_filling.writable().data(), full.data() + whole, filled - whole);
        _filled = filled - whole;
    }
    const std::uint64_t position = std::exchange(_position, _position + whole);
    // Its place comes first: nothing may be written that nobody waits for.
    _behind.emplace_back();
    _behind.back() = futurize([&] { return write_kept(_file, position, std::move(full), length); });
}

future<> output_stream::wait_for_one() {
    co_await settled(_behind.front());
    if (_behind.front().failed()) {
        std::exception_ptr failure = _behind.front().take_failure();
        _failure = _failure ? _failure : std::move(failure);
    }
    _behind.pop_front();
}

future<> output_stream::flush() {
    check();
    if (_filled > 0) {
        co_await start_write(true);
    }
    while (!_behind.empty()) {
        co_await wait_for_one();
    }
    check();
    try {
        co_await _file.sync();
    } catch (...) {
        _failure = std::current_exception();
        throw;
    }
}

future<> output_stream::close() {
    std::exception_ptr failure;
    try {
        co_await flush();
        co_await _file.truncate(size());
        co_await _file.sync(true);
    } catch (...) {
        failure = std::current_exception();
    }
    while (!_behind.empty()) {
        co_await wait_for_one();
    }
    _closed = true;
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace weir::io
