// SPDX-License-Identifier: Apache-2.0
#include <weir/net/connection.hh>

#include <cerrno>
#include <new>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/submit.hh>
#include <weir/net/connection_machinery.hh>

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

connection::connection(const connection_options& options, connection_totals* totals)
    : _options(options), _totals(totals), _machinery(std::make_unique<machinery>(*this)) {}

connection::connection(int fd, const connection_options& options, connection_totals* totals)
    : connection(options, totals) {
    _machinery->fd = fd;
}

void connection::adopt(int fd, const address& peer) noexcept {
    _machinery->fd = fd;
    _peer = peer;
}

connection::~connection() {
    if (!closed()) {
        ended(ECONNABORTED);
        machinery::let_go(std::move(_machinery)).ignore();
    }
}

/// A connect that is given up at its deadline.
class connection::connecting final : public io::operation, public timer {
  public:
    explicit connecting(const address& to)
        : operation(io::op::connect{&to.raw(), to.raw_length()}) {}

    future<std::int32_t> start(instant deadline) {
        if (deadline != never) {
            arm(deadline);  // first: there may be no memory for it, and then this goes
        }
        future<std::int32_t> result = _done.get_future();
        io::this_backend().start(*this);
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
    std::unique_ptr<connection> made(new connection(options, nullptr));
    const std::int32_t fd = co_await attempt.start(deadline);
    if (fd == -ETIMEDOUT) {
        throw error("connect", to.to_string(), errc::timed_out);
    }
    if (fd < 0) {
        throw error::from_errno("connect", to.to_string(), -fd);
    }
    made->adopt(fd, to);
    co_return made;
}

void connection::check_home() const noexcept {
    if (_shard != detail::shard_id_here()) [[unlikely]] {
        wrong_shard("the connection with", _peer.to_string().c_str(), _shard);
    }
}

// Whether somebody waits in receive(): who dropped the future does not.
bool connection::awaited() noexcept {
    if (_waiting.open() && !_waiting.wanted()) {
        _machinery->receive_patience.end();
        _waiting = {};
    }
    return _waiting.open();
}

future<received> connection::receive(instant deadline) {
    check_home();
    WEIR_ASSERT(!closed() && !awaited());
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
    if (!_machinery->receiving && !_end) {
        _holding = false;
        _machinery->start_receive();
    }
}

void connection::arrived(received&& data) {
    const std::size_t bytes = data.bytes().size();
    _bytes_received += bytes;
    if (_totals != nullptr) {
        _totals->bytes_received += bytes;
    }
    if (awaited()) {
        deliver(std::move(data));
        return;
    }
    try {
        _queue.push_back(std::move(data));
    } catch (const std::bad_alloc&) {
        return abort(ENOMEM);  // a stream with a hole is none
    }
    _queued_bytes += bytes;
    const bool full = _queued_bytes >= _options.receive_ahead_bytes ||
                      _queue.size() >= _options.receive_ahead_loans;
    if (full && _machinery->receiving && !_holding) {
        _holding = true;
        if (_totals != nullptr) {
            ++_totals->receives_held;
        }
        _machinery->cancel_receive();
    }
}

void connection::deliver(received&& data) {
    _machinery->receive_patience.end();
    _late = false;
    _waiting.set_value(std::move(data));
}

void connection::ended(std::int32_t error_number) {
    _end = _end.value_or(error_number);  // the first reason counts
    if (!awaited()) {
        return;
    }
    if (*_end == 0) {
        deliver(received(received::status::end));
    } else {
        _machinery->receive_patience.end();
        _waiting.set_failure(failure_of("receive", _peer, of_errno(*_end)));
    }
}

// The time is up. But bytes may lie in the socket at which nobody has looked: what the receive
// comes to when it is taken back decides.
void connection::receive_late() noexcept {
    if (!awaited()) {
        return;
    }
    if (_machinery->receiving) {
        _late = true;
        _machinery->cancel_receive();
    } else {
        deliver(received(received::status::timed_out));
    }
}

void connection::receive_stopped() {
    const bool late = std::exchange(_late, false);
    if (_machinery->receiving) {  // into memory of our own now
        _late = late;
        if (late || _ending) {
            _machinery->cancel_receive();
        }
    } else if (_ending) {
        ended(0);
    } else if (awaited()) {
        if (late) {
            deliver(received(received::status::timed_out));
        } else {
            start_receive();
        }
    }
}

future<> connection::send(std::span<const std::byte> bytes) {
    const iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
    return send(std::span(&part, 1));
}

future<> connection::send(std::span<const iovec> parts) {
    check_home();
    WEIR_ASSERT(!closed() && !_machinery->sending);
    return _machinery->send.start(parts);
}

void connection::sent(std::size_t bytes) noexcept {
    _bytes_sent += bytes;
    if (_totals != nullptr) {
        _totals->bytes_sent += bytes;
    }
}

void connection::hurry_send(instant deadline) noexcept {
    if (!closed() && _machinery->sending) {
        _machinery->send_patience.shorten(deadline);
    }
}

// After a part of the send the stream is of no use to anyone.
void connection::send_late() noexcept {
    if (_machinery->sending && !_machinery->aborted) {
        if (_totals != nullptr) {
            ++_totals->sends_too_slow;
        }
        _machinery->send.time_out();
        abort(ETIMEDOUT);
    }
}

future<> connection::shutdown_send() {
    if (_machinery->aborted) {
        return make_ready_future();
    }
    return io::submit(io::op::shutdown{_machinery->fd, SHUT_WR}).then([](std::int32_t) {});
}

// A receive that runs is taken back, and the socket stays open for linger(). One that doesn't run
// may have left bytes in the socket, which are to be taken first: the kernel tells us then.
void connection::shutdown_receive() noexcept {
    if (closed() || _machinery->aborted || _end || _lingering) {
        return;
    }
    if (_machinery->receiving && !_holding) {
        _ending = true;
        _machinery->cancel_receive();
    } else {
        try {
            io::submit(io::op::shutdown{_machinery->fd, SHUT_RD}).ignore();
        } catch (const std::bad_alloc&) {
            abort(ENOMEM);
        }
    }
}

future<> connection::linger(instant deadline, std::size_t bytes_max) {
    co_await shutdown_send();
    _lingering = true;
    if (std::exchange(_ending, false)) {
        _end.reset();  // that was ours
    }
    try {
        for (std::size_t bytes = 0; bytes < bytes_max && this_shard().now() < deadline;) {
            const received some = co_await receive(deadline);
            if (some.what() != received::status::data) {
                break;
            }
            bytes += some.bytes().size();
        }
    } catch (const error&) {  // NOLINT(bugprone-empty-catch): gone, which is an end too
    }
}

void connection::abort(std::int32_t reason) noexcept {
    if (closed() || std::exchange(_machinery->aborted, true)) {
        return;
    }
    _machinery->cancel();
    _machinery->give_back(true);
    ended(reason);
}

future<> connection::close() {
    check_home();
    WEIR_ASSERT(!closed());
    _queue.clear();
    ended(0);
    return machinery::let_go(std::move(_machinery));
}

}  // namespace weir::net
