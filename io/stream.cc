// SPDX-License-Identifier: Apache-2.0
#include <weir/io/stream.hh>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
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

future<> write_next_kept(file& to, buffer kept, std::size_t length) {
    co_await to.write_next(kept.bytes().first(length));
}

std::uint64_t end_of(std::uint64_t offset, std::uint64_t length) {
    return length < UINT64_MAX - offset ? offset + length : UINT64_MAX;
}

std::size_t whole_pages(std::size_t bytes) {
    return (bytes + page - 1) / page * page;
}

}  // namespace

input_stream::input_stream(file& from, std::uint64_t offset, stream_options options)
    : input_stream(from, offset, to_the_end, options) {}

input_stream::input_stream(file& from, std::uint64_t offset, std::uint64_t length,
                           stream_options options)
    : _file(from),
      _options(options),
      _next(offset),
      _stop(end_of(offset, length)),
      _piece_bytes(options.buffer_bytes) {
    check_options(options);
}

input_stream::~input_stream() {
    if (!_ahead.empty()) {
        destroyed_too_soon("an input stream of", _file.path().c_str(), "close()");
    }
}

future<> input_stream::begin() {
    const op::file_status found = co_await _file.status();
    if (found.is_directory) {
        throw error::from_errno("read", _file.path(), EISDIR);
    }
    if (!found.by_position) {
        if (_next != 0) {
            throw error::from_errno("read from an offset", _file.path(), ESPIPE);
        }
        _way = way::in_order;
    } else if (found.size == 0) {
        _way = way::one_by_one;
        _piece_bytes = page;
    } else {
        _way = way::ahead;
        _stop = std::min(_stop, found.size);
    }
}

input_stream::piece input_stream::next_piece() {
    const auto wanted = static_cast<std::size_t>(
        std::min<std::uint64_t>(_piece_bytes, _next < _stop ? _stop - _next : 0));
    const std::size_t asked = _file.direct() ? whole_pages(wanted) : wanted;
    buffer memory = std::exchange(_spare, {});
    if (memory.size() < asked) {
        memory = buffer::allocate(asked, page);
    }
    return {std::move(memory), wanted, {}};
}

void input_stream::read_ahead() {
    while (!_end && !_failure && _ahead.size() < _depth && _next < _stop) {
        // Its place comes first: nothing may be read into memory that nobody keeps.
        piece& last = _ahead.emplace_back(next_piece());
        const std::span<std::byte> into =
            last.memory.writable().first(_file.direct() ? whole_pages(last.wanted) : last.wanted);
        last.count = futurize([&] {
            return _way == way::in_order ? _file.read_next(into, &_give_up)
                                         : _file.read(_next, into, &_give_up);
        });
        _next += last.wanted;
    }
}

future<buffer> input_stream::read() {
    WEIR_ASSERT(!_closed);
    if (_way == way::unknown && !_failure) [[unlikely]] {
        try {
            co_await begin();
        } catch (...) {
            _failure = std::current_exception();
        }
    }
    read_ahead();
    if (!_ahead.empty()) {
        co_return co_await take_first();
    }
    if (_failure) {
        std::rethrow_exception(_failure);
    }
    co_return buffer();
}

future<buffer> input_stream::take_first() {
    piece first = std::move(_ahead.front());
    _ahead.pop_front();
    co_await settled(first.count);
    std::size_t count = 0;
    if (!first.count.failed()) {
        count = std::min(first.count.take(), first.wanted);
    } else if (std::exception_ptr why = first.count.take_failure(); !_give_up.requested()) {
        _failure = why;
    }
    if (_way == way::in_order) {
        _next -= first.wanted - count;  // where there are no offsets a short read is no end
    }
    if (_failure || count == 0 || (count < first.wanted && _way != way::in_order)) {
        _end = true;
        co_await drop_ahead();  // behind a failure or the end there is nothing of use
    }
    if (_failure) {
        std::rethrow_exception(_failure);
    }
    if (_way == way::ahead) {
        _depth = std::min(2 * _depth, _options.depth);
        try {
            read_ahead();
        } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): the next read asks again
        }
    } else {
        _piece_bytes = std::min(2 * _piece_bytes, _options.buffer_bytes);
    }
    co_return fitting(std::move(first.memory), count);
}

/// A line that was typed at a terminal must not hold the memory of thousands.
buffer input_stream::fitting(buffer memory, std::size_t size) {
    if (size < memory.size() / 4 && _way == way::in_order) {
        try {
            buffer result = buffer::copy_of(memory.bytes().first(size));
            _spare = std::move(memory);
            return result;
        } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): then it holds more
        }
    }
    memory.truncate(size);
    return memory;
}

future<> input_stream::close() {
    _closed = true;
    _give_up.request();
    return drop_ahead();
}

future<> input_stream::drop_ahead() {
    while (!_ahead.empty()) {
        // It stays where it is until it has ended: the kernel may be writing to its memory.
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
    if (!_behind.empty()) {
        destroyed_too_soon("an output stream to", _file.path().c_str(), "close()");
    }
}

void output_stream::check() const {
    WEIR_ASSERT(!_closed);
    if (_failure) {
        std::rethrow_exception(_failure);
    }
}

/// Asks once, when something is to be written.
future<> output_stream::begin() {
    if (std::exchange(_begun, true)) {
        co_return;
    }
    try {
        _in_order = !(co_await _file.status()).by_position;
        if (_in_order && _start != 0) {
            throw error::from_errno("write at an offset", _file.path(), ESPIPE);
        }
    } catch (...) {
        _failure = std::current_exception();
        throw;
    }
}

future<> output_stream::write(std::span<const std::byte> bytes) {
    check();
    co_await begin();
    try {
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
    } catch (...) {
        _failure = std::current_exception();  // a part of it may be there: nothing may follow that
        throw;
    }
}

// Writes what is in the buffer, behind. A padded write goes to the end of the page, and leaves the
// last page's bytes in the next buffer, at the place where they belong.
future<> output_stream::start_write(bool padded) {
    while (_behind.size() >= (_in_order ? 1 : _options.depth)) {
        co_await wait_for_one();
    }
    if (_in_order) {
        check();  // nothing may follow a piece that is missing
        _behind.emplace_back();
        const std::size_t length = std::exchange(_filled, 0);
        _position += length;
        _behind.back() =
            futurize([&] { return write_next_kept(_file, std::exchange(_filling, {}), length); });
        co_return;
    }
    // All memory comes first: what is in the buffer stays there if there is none, and nothing may
    // be written that nobody waits for.
    const std::size_t whole = _filled / page * page;
    buffer next = whole < _filled ? buffer::allocate(_options.buffer_bytes, page) : buffer();
    _behind.emplace_back();
    buffer full = std::exchange(_filling, std::move(next));
    const std::size_t filled = std::exchange(_filled, _filled - whole);
    const std::size_t length = padded && whole < filled ? whole + page : filled;
    std::memset(full.writable().data() + filled, 0, length - filled);
    if (whole < filled) {
        std::memcpy(_filling.writable().data(), full.data() + whole, filled - whole);
    }
    const std::uint64_t position = std::exchange(_position, _position + whole);
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

future<> output_stream::wait_for_all() {
    while (!_behind.empty()) {
        co_await wait_for_one();
    }
}

future<> output_stream::flush() {
    check();
    co_await begin();
    if (_filled > 0) {
        co_await start_write(true);
    }
    co_await wait_for_all();
    check();
    if (_in_order) {
        co_return;
    }
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
        if (!_in_order) {
            co_await _file.truncate(size());
            co_await _file.sync(true);
        }
    } catch (...) {
        failure = std::current_exception();
    }
    co_await wait_for_all();
    _closed = true;
    if (failure) {
        std::rethrow_exception(failure);
    }
}

}  // namespace weir::io
