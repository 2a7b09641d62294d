// SPDX-License-Identifier: Apache-2.0
#include <weir/net/connection.hh>

#include <cerrno>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/submit.hh>

namespace weir::net {

namespace {

// A send goes to the kernel in pieces of this size, so that one that gets nowhere is noticed.
constexpr std::size_t piece_bytes_max = 1024 * 1024;
constexpr std::size_t piece_parts_max = 1024;
// Capacity that an idle connection keeps.
constexpr std::size_t parts_kept = 16;

}  // namespace

received::received(received&& other) noexcept
    : _status(other._status),
      _bytes(std::exchange(other._bytes, {})),
      _loan(std::exchange(other._loan, {})),
      _private(std::move(other._private)) {}

received& received::operator=(received&& other) noexcept {
    if (this != &other) {
        release();
        _status = other._status;
        _bytes = std::exchange(other._bytes, {});
        _loan = std::exchange(other._loan, {});
        _private = std::move(other._private);
    }
    return *this;
}

void received::release() noexcept {
    if (_loan.data != nullptr) {
        io::this_backend().release(std::exchange(_loan, {}));
    }
}

/// The multishot receive that runs as long as there is room for what it brings.
class connection::receive_operation final : public io::operation {
  public:
    receive_operation(connection& owner, int fd) : operation(io::op::receive{fd}), _owner(owner) {}

    void complete(const io::completion& outcome) noexcept override {
        connection& owner = _owner;
        if (outcome.result > 0) {
            received data(received::status::data);
            data._loan = outcome.buffer;
            data._bytes = {outcome.buffer.data, outcome.buffer.length};
            owner.arrived(std::move(data));
        }
        if (outcome.more) {
            return;
        }
        owner._receiving = false;
        if (outcome.result == -ENOBUFS) {
            owner.start_private_receive();
        } else if (outcome.result == 0) {
            owner.ended(0);
        } else if (outcome.result < 0 && outcome.result != -ECANCELED) {
            owner.ended(-outcome.result);
        }
        owner.idle();
    }

  private:
    connection& _owner;
};

/// A single receive into memory of our own: progress when every loan is out.
class connection::private_receive final : public io::operation {
  public:
    private_receive(connection& owner, int fd, std::size_t bytes)
        : operation(io::op::nop{}), _owner(owner), _memory(new std::byte[bytes]) {
        what = io::op::receive_into{fd, _memory.get(), static_cast<std::uint32_t>(bytes)};
    }

    void complete(const io::completion& outcome) noexcept override {
        connection& owner = _owner;
        const std::unique_ptr<private_receive> self = std::move(owner._private_receive);
        owner._receiving = false;
        if (outcome.result > 0) {
            received data(received::status::data);
            data._bytes = {_memory.get(), static_cast<std::size_t>(outcome.result)};
            data._private = std::move(_memory);
            owner.arrived(std::move(data));
        } else if (outcome.result == 0) {
            owner.ended(0);
        } else if (outcome.result != -ECANCELED) {
            owner.ended(-outcome.result);
        }
        owner.idle();
    }

  private:
    connection& _owner;
    std::unique_ptr<std::byte[]> _memory;
};

/// All of a send, piece by piece.
class connection::send_operation final : public io::operation {
  public:
    explicit send_operation(connection& owner) : operation(io::op::nop{}), _owner(owner) {}

    future<> start(std::span<const iovec> parts);
    void time_out() noexcept {
        _timed_out = true;
        io::this_backend().cancel(*this);
    }
    void complete(const io::completion& outcome) noexcept override;

  private:
    void start_piece();
    void advance(std::size_t count) noexcept;
    std::exception_ptr failure(int errno_value) const;

    connection& _owner;
    std::vector<iovec> _parts;
    std::size_t _first = 0;
    std::size_t _left = 0;
    iovec _piece{};  // of a part that is larger than a piece
    bool _timed_out = false;
    promise<> _sent;
};

/// Ends a wait at its deadline. A wait that ends in time leaves the timer armed, since the next
/// one will hardly be due earlier: waiting costs two stores.
class connection::patience final : public timer {
  public:
    patience(connection& owner, void (connection::*late)() noexcept) noexcept
        : _owner(owner), _late(late) {}

    void begin(instant deadline) {
        _deadline = deadline;
        if (deadline != never && (!armed() || deadline < due())) {
            arm(deadline);
        }
    }
    void end() noexcept { _deadline = never; }

  protected:
    void fire() noexcept override {
        if (_deadline == never) {
            return;
        }
        if (this_shard().now() < _deadline) {
            arm(_deadline);
            return;
        }
        _deadline = never;
        (_owner.*_late)();
    }

  private:
    connection& _owner;
    void (connection::*_late)() noexcept;
    instant _deadline = never;
};

/// What every connection needs and the header need not show.
struct connection::machinery {
    machinery(connection& owner, int fd)
        : receive(owner, fd),
          send(owner),
          receive_patience(owner, &connection::receive_late),
          send_patience(owner, &connection::send_late) {}

    receive_operation receive;
    send_operation send;
    patience receive_patience;
    patience send_patience;
};

connection::connection(int fd, const connection_options& options, connection_totals* totals)
    : _fd(fd),
      _options(options),
      _totals(totals),
      _machinery(std::make_unique<machinery>(*this, fd)) {}

connection::~connection() {
    WEIR_ASSERT(_closed && !_receiving && !_sending);
}

/// A connect that is given up at its deadline.
class connection::connecting final : public io::operation, public timer {
  public:
    explicit connecting(const address& to)
        : operation(io::op::connect{&to.raw(), to.raw_length()}) {}

    future<std::int32_t> start(instant deadline) {
        future<std::int32_t> result = _done.get_future();
        io::this_backend().start(*this);
        if (deadline != never) {
            arm(deadline);
        }
        return result;
    }
    void complete(const io::completion& outcome) noexcept override {
        cancel();
        _done.set_value(_late && outcome.result == -ECANCELED ? -ETIMEDOUT : outcome.result);
    }

  protected:
    void fire() noexcept override {
        _late = true;
        io::this_backend().cancel(*this);
    }

  private:
    promise<std::int32_t> _done;
    bool _late = false;
};

future<std::unique_ptr<connection>> connection::connect(address to, connection_options options,
                                                        instant deadline) {
    connecting attempt(to);
    const std::int32_t fd = co_await attempt.start(deadline);
    if (fd == -ETIMEDOUT) {
        throw error("connect", to.to_string(), errc::timed_out);
    }
    if (fd < 0) {
        throw error::from_errno("connect", to.to_string(), -fd);
    }
    auto made = std::make_unique<connection>(fd, options);
    made->_peer = to;
    co_return made;
}

future<received> connection::receive(instant deadline) {
    WEIR_ASSERT(!_waiting.open() && !_closed);
    if (!_queue.empty()) {
        received first = std::move(_queue.front());
        _queue.erase(_queue.begin());
        _queued_bytes -= first.bytes().size();
        return make_ready_future<received>(std::move(first));
    }
    future<received> result = _waiting.get_future();
    if (_end) {
        ended(*_end);
    } else {
        _machinery->receive_patience.begin(deadline);
        start_receive();
    }
    return result;
}

void connection::start_receive() {
    if (_receiving || _end || _aborted || _closed) {
        return;
    }
    _receiving = true;
    _holding = false;
    io::this_backend().start(_machinery->receive);
}

void connection::start_private_receive() {
    if (_closed || _aborted || !_queue.empty()) {
        return;  // what is queued returns loans when it is taken; receive() then starts anew
    }
    _private_receive = std::make_unique<private_receive>(*this, _fd, _options.private_buffer_bytes);
    _receiving = true;
    io::this_backend().start(*_private_receive);
}

void connection::arrived(received&& data) {
    const std::size_t bytes = data.bytes().size();
    _bytes_received += bytes;
    if (_totals != nullptr) {
        _totals->bytes_received += bytes;
    }
    if (_waiting.open()) {
        deliver(std::move(data));
        return;
    }
    _queue.push_back(std::move(data));
    _queued_bytes += bytes;
    const bool full = _queued_bytes >= _options.receive_ahead_bytes ||
                      _queue.size() >= _options.receive_ahead_loans;
    if (full && _receiving && !_holding) {
        _holding = true;
        if (_totals != nullptr) {
            ++_totals->receives_held;
        }
        io::this_backend().cancel(_machinery->receive);
    }
}

void connection::deliver(received&& data) {
    _machinery->receive_patience.end();
    _waiting.set_value(std::move(data));
}

void connection::ended(std::int32_t error_number) {
    _end = _end.value_or(error_number);  // the first reason counts
    if (!_waiting.open()) {
        return;
    }
    if (*_end == 0) {
        deliver(received(received::status::end));
    } else {
        _machinery->receive_patience.end();
        _waiting.set_failure(
            std::make_exception_ptr(error::from_errno("receive", _peer.to_string(), *_end)));
    }
}

void connection::receive_late() noexcept {
    if (_waiting.open()) {
        deliver(received(received::status::timed_out));
    }
}

// An operation has ended: go on if someone waits, or let close() go on.
void connection::idle() {
    if (_closed) {
        if (!_receiving && !_sending && _closing.open()) {
            _closing.set_value();
        }
    } else if (!_receiving && _waiting.open()) {
        start_receive();
    }
}

future<> connection::send(std::span<const std::byte> bytes) {
    const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    return send(std::span(&part, 1));
}

future<> connection::send(std::span<const iovec> parts) {
    WEIR_ASSERT(!_sending && !_closed);
    return _machinery->send.start(parts);
}

future<> connection::send_operation::start(std::span<const iovec> parts) {
    if (_owner._aborted) {
        return make_failed_future(failure(ECONNABORTED));
    }
    _parts.assign(parts.begin(), parts.end());
    _first = 0;
    _left = 0;
    for (const iovec& part : parts) {
        _left += part.iov_len;
    }
    if (_left == 0) {
        return make_ready_future();
    }
    future<> result = _sent.get_future();
    _owner._sending = true;
    start_piece();
    return result;
}

void connection::send_operation::start_piece() {
    while (_parts[_first].iov_len == 0) {
        ++_first;
    }
    std::size_t count = 0, bytes = 0;
    while (_first + count < _parts.size() && count < piece_parts_max &&
           bytes + _parts[_first + count].iov_len <= piece_bytes_max) {
        bytes += _parts[_first + count++].iov_len;
    }
    const iovec* vector = _parts.data() + _first;
    if (count == 0) {
        bytes = piece_bytes_max;
        _piece = {vector->iov_base, bytes};
        vector = &_piece;
        count = 1;
    }
    what = io::op::send{.fd = _owner._fd,
                        .vector = vector,
                        .vector_count = static_cast<std::uint32_t>(count),
                        .zero_copy = bytes >= _owner._options.zero_copy_bytes};
    const duration time = _owner._options.send_time_max;
    _owner._machinery->send_patience.begin(
        time == connection_options::forever ? never : this_shard().now() + time);
    io::this_backend().start(*this);
}

void connection::send_operation::advance(std::size_t count) noexcept {
    _left -= count;
    while (count > 0 && count >= _parts[_first].iov_len) {
        count -= _parts[_first++].iov_len;
    }
    if (count > 0) {
        _parts[_first].iov_base = static_cast<std::byte*>(_parts[_first].iov_base) + count;
        _parts[_first].iov_len -= count;
    }
}

std::exception_ptr connection::send_operation::failure(int errno_value) const {
    const std::string peer = _owner._peer.to_string();
    return std::make_exception_ptr(_timed_out ? error("send", peer, errc::timed_out)
                                              : error::from_errno("send", peer, errno_value));
}

void connection::send_operation::complete(const io::completion& outcome) noexcept {
    connection& owner = _owner;
    if (outcome.result > 0) {
        advance(static_cast<std::size_t>(outcome.result));
        owner.sent(static_cast<std::size_t>(outcome.result));
    }
    const bool gone_on = !owner._aborted && !owner._closed && outcome.result > 0 && _left > 0;
    if (gone_on) {
        start_piece();
        return;
    }
    owner._machinery->send_patience.end();
    owner._sending = false;
    if (_parts.capacity() > parts_kept) {
        std::vector<iovec>().swap(_parts);
    }
    if (_left == 0) {
        _sent.set_value();
    } else {
        _sent.set_failure(failure(outcome.result < 0 ? -outcome.result : ECONNABORTED));
    }
    owner.idle();
}

void connection::sent(std::size_t bytes) noexcept {
    _bytes_sent += bytes;
    if (_totals != nullptr) {
        _totals->bytes_sent += bytes;
    }
}

// After a part of the send the stream is of no use to anyone.
void connection::send_late() noexcept {
    if (_sending && !_aborted) {
        if (_totals != nullptr) {
            ++_totals->sends_too_slow;
        }
        _machinery->send.time_out();
        abort();
    }
}

future<> connection::shutdown_send() {
    if (_aborted) {
        return make_ready_future();
    }
    return io::submit(io::op::shutdown{_fd, SHUT_WR}).then([](std::int32_t) {});
}

void connection::shutdown_receive() noexcept {
    if (!_closed && !_aborted) {
        io::submit(io::op::shutdown{_fd, SHUT_RD}).ignore();
    }
}

void connection::cancel_receive() noexcept {
    if (_private_receive) {
        io::this_backend().cancel(*_private_receive);
    } else if (_receiving) {
        io::this_backend().cancel(_machinery->receive);
    }
}

void connection::abort() noexcept {
    if (_closed || std::exchange(_aborted, true)) {
        return;
    }
    cancel_receive();
    if (_sending) {
        io::this_backend().cancel(_machinery->send);
    }
    io::submit(io::op::close{.fd = _fd, .reset = true}).ignore();
    ended(_end.value_or(0));
}

future<> connection::close() {
    WEIR_ASSERT(!_closed);
    if (_sending) {
        abort();
    }
    _closed = true;
    _machinery->receive_patience.end();
    cancel_receive();
    if (_receiving || _sending) {
        co_await _closing.get_future();
    }
    _queue.clear();
    if (_waiting.open()) {
        _waiting.set_value(received(received::status::end));
    }
    if (!_aborted) {
        co_await io::submit(io::op::close{_fd});
    }
}

}  // namespace weir::net
