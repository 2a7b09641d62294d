// SPDX-License-Identifier: Apache-2.0
#include <weir/net/connection.hh>

#include <cerrno>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/submit.hh>

namespace weir::net {

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

class connection::deadline_timer final : public timer {
  public:
    explicit deadline_timer(connection& owner) noexcept : _owner(owner) {}

  protected:
    void fire() noexcept override {
        if (_owner._waiting.open()) {
            _owner._waiting.set_value(received(received::status::timed_out));
        }
    }

  private:
    connection& _owner;
};

connection::connection(int fd, connection_options options)
    : _fd(fd),
      _options(options),
      _receive(std::make_unique<receive_operation>(*this, fd)),
      _deadline(std::make_unique<deadline_timer>(*this)) {}

connection::~connection() {
    WEIR_ASSERT(_closed && !_receiving);
}

future<std::unique_ptr<connection>> connection::connect(address to, connection_options options) {
    const std::int32_t fd = co_await io::submit_or_fail(io::op::connect{&to.raw(), to.raw_length()},
                                                        "connect", to.to_string());
    auto made = std::make_unique<connection>(fd, options);
    made->_peer = to;
    co_return made;
}

future<received> connection::receive(instant deadline) {
    WEIR_ASSERT(!_waiting.open());
    future<received> result = _waiting.get_future();
    deliver();
    if (_waiting.open()) {
        start_receive();
        if (deadline != never) {
            _deadline->arm(deadline);
        }
    }
    return result;
}

void connection::start_receive() {
    if (_receiving || _end || _closed) {
        return;
    }
    _receiving = true;
    _holding = false;
    io::this_backend().start(*_receive);
}

void connection::start_private_receive() {
    if (_closed || _queued_bytes > 0) {
        return;  // what is queued returns loans when it is taken; receive() then starts anew
    }
    _private_receive = std::make_unique<private_receive>(*this, _fd, _options.private_buffer_bytes);
    _receiving = true;
    io::this_backend().start(*_private_receive);
}

void connection::arrived(received&& data) {
    _bytes_received += data.bytes().size();
    _queued_bytes += data.bytes().size();
    _queue.push_back(std::move(data));
    deliver();
    if (_queued_bytes >= _options.receive_ahead_bytes && _receiving && !_holding) {
        _holding = true;
        io::this_backend().cancel(*_receive);
    }
}

void connection::ended(std::int32_t error_number) {
    _end = error_number;
    deliver();
}

// Gives a waiting receive() what there is: data first, then the end.
void connection::deliver() {
    if (!_waiting.open()) {
        return;
    }
    if (!_queue.empty()) {
        _deadline->cancel();
        received first = std::move(_queue.front());
        _queue.pop_front();
        _queued_bytes -= first.bytes().size();
        _waiting.set_value(std::move(first));
    } else if (_end && *_end == 0) {
        _deadline->cancel();
        _waiting.set_value(received(received::status::end));
    } else if (_end) {
        _deadline->cancel();
        _waiting.set_failure(
            std::make_exception_ptr(error::from_errno("receive", _peer.to_string(), *_end)));
    }
}

// A receive operation has ended: go on if someone waits, or let close() go on.
void connection::idle() {
    if (_receiving) {
        return;
    }
    if (_closing.open()) {
        _closing.set_value();
    } else if (_waiting.open()) {
        start_receive();
    }
}

future<> connection::send(std::span<const std::byte> bytes) {
    return send({iovec{const_cast<std::byte*>(bytes.data()), bytes.size()}});
}

future<> connection::send(std::vector<iovec> parts) {
    std::size_t left = 0;
    for (const iovec& part : parts) {
        left += part.iov_len;
    }
    std::size_t first = 0;
    while (left > 0) {
        while (parts[first].iov_len == 0) {
            ++first;
        }
        const std::int32_t result =
            co_await io::submit(io::op::send{.fd = _fd,
                                             .vector = parts.data() + first,
                                             .vector_count = static_cast<std::uint32_t>(
                                                 std::min<std::size_t>(parts.size() - first, 1024)),
                                             .zero_copy = left >= _options.zero_copy_bytes});
        if (result < 0) {
            throw error::from_errno("send", _peer.to_string(), -result);
        }
        auto count = static_cast<std::size_t>(result);
        _bytes_sent += count;
        left -= count;
        while (count > 0 && count >= parts[first].iov_len) {
            count -= parts[first++].iov_len;
        }
        if (count > 0) {
            parts[first].iov_base = static_cast<std::byte*>(parts[first].iov_base) + count;
            parts[first].iov_len -= count;
        }
    }
}

future<> connection::shutdown_send() {
    return io::submit(io::op::shutdown{_fd, SHUT_WR}).then([](std::int32_t) {});
}

void connection::shutdown_receive() noexcept {
    if (!_closed) {
        io::submit(io::op::shutdown{_fd, SHUT_RD}).ignore();
    }
}

void connection::abort() noexcept {
    if (!_closed) {
        io::submit(io::op::shutdown{_fd, SHUT_RDWR}).ignore();
    }
}

future<> connection::close() {
    WEIR_ASSERT(!_closed);
    _closed = true;
    _deadline->cancel();
    if (_receiving) {
        future<> idle = _closing.get_future();
        io::this_backend().cancel(*_receive);
        if (_private_receive) {
            io::this_backend().cancel(*_private_receive);
        }
        co_await std::move(idle);
    }
    _queue.clear();
    if (_waiting.open()) {
        _waiting.set_value(received(received::status::end));
    }
    co_await io::submit(io::op::close{_fd});
}

}  // namespace weir::net
