// SPDX-License-Identifier: Apache-2.0
#include <weir/net/connection_machinery.hh>

#include <cerrno>
#include <new>
#include <utility>

#include <weir/core/error.hh>
#include <weir/core/shard.hh>
#include <weir/io/submit.hh>
#include <weir/net/peer_time.hh>

namespace weir::net {

namespace {

// A send goes to the kernel in pieces of this size, so that one that gets nowhere is noticed.
constexpr std::size_t piece_bytes_max = 1024 * 1024;
constexpr std::size_t piece_parts_max = 1024;
// Capacity that an idle connection keeps.
constexpr std::size_t parts_kept = 16;

}  // namespace

std::exception_ptr failure_of(const char* operation, const address& peer,
                              std::error_code cause) noexcept {
    try {
        return std::make_exception_ptr(error(operation, peer.to_string(), cause));
    } catch (...) {
        return std::current_exception();
    }
}

void connection::receive_operation::complete(const io::completion& outcome) noexcept {
    received data(received::status::data);
    if (outcome.result > 0) {
        data._loan = outcome.buffer;
        data._bytes = {outcome.buffer.data, outcome.buffer.length};
    }
    _of.receiving = outcome.more;
    connection* const owner = _of.owner;
    if (owner == nullptr) {
        data.release();
        return _of.rest();
    }
    if (outcome.result > 0) {
        owner->arrived(std::move(data));
    }
    if (outcome.more) {
        return;
    }
    if (outcome.result == -ENOBUFS) {
        _of.start_private_receive();
    } else if (outcome.result == 0) {
        owner->ended(0);
    } else if (outcome.result < 0 && outcome.result != -ECANCELED) {
        owner->ended(-outcome.result);
    }
    owner->receive_stopped();
}

connection::private_receive::private_receive(machinery& of, int fd, std::size_t bytes)
    : operation(io::op::nop{}), _of(of), _memory(new std::byte[bytes]) {
    what = io::op::receive_into{fd, _memory.get(), static_cast<std::uint32_t>(bytes)};
}

void connection::private_receive::complete(const io::completion& outcome) noexcept {
    const std::unique_ptr<private_receive> self = std::move(_of.own_receive);
    _of.receiving = false;
    connection* const owner = _of.owner;
    if (owner == nullptr) {
        return _of.rest();
    }
    if (outcome.result > 0) {
        received data(received::status::data);
        data._bytes = {_memory.get(), static_cast<std::size_t>(outcome.result)};
        data._private = std::move(_memory);
        owner->arrived(std::move(data));
    } else if (outcome.result == 0) {
        owner->ended(0);
    } else if (outcome.result != -ECANCELED) {
        owner->ended(-outcome.result);
    }
    owner->receive_stopped();
}

future<> connection::send_operation::start(std::span<const iovec> parts) {
    if (_of.aborted) {
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
    begin_patience();  // first: there may be no memory for it
    future<> result = _sent.get_future();
    _of.sending = true;
    start_piece();
    return result;
}

// Its timer stays armed while there is a send: only the first piece may find no memory.
void connection::send_operation::begin_patience() {
    const duration time = _of.owner->_options.send_time_max;
    _of.send_patience.begin(this_shard().now() + time);
}

void connection::send_operation::start_piece() noexcept {
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
    what = io::op::send{.fd = _of.fd,
                        .vector = vector,
                        .vector_count = static_cast<std::uint32_t>(count),
                        .zero_copy = bytes >= _of.owner->_options.zero_copy_bytes};
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

std::exception_ptr connection::send_operation::failure(int errno_value) const noexcept {
    if (_of.owner == nullptr) {
        return make_failure("send", "connection", errc::closed);
    }
    return failure_of("send", _of.owner->_peer,
                      _timed_out ? make_error_code(errc::timed_out) : of_errno(errno_value));
}

void connection::send_operation::complete(const io::completion& outcome) noexcept {
    connection* const owner = _of.owner;
    if (outcome.result > 0) {
        advance(static_cast<std::size_t>(outcome.result));
        if (owner != nullptr) {
            owner->sent(static_cast<std::size_t>(outcome.result));
        }
    }
    if (owner != nullptr && !_of.aborted && outcome.result > 0 && _left > 0) {
        begin_patience();
        start_piece();
        return;
    }
    _of.send_patience.end();
    _of.sending = false;
    if (_parts.capacity() > parts_kept) {
        std::vector<iovec>().swap(_parts);
    }
    if (_left == 0) {
        _sent.set_value();
    } else {
        _sent.set_failure(failure(outcome.result < 0 ? -outcome.result : ECONNABORTED));
    }
    _of.rest();
}

void connection::close_operation::complete(const io::completion&) noexcept {
    _of.closing = false;
    _of.rest();
}

void connection::patience::begin(instant deadline) {
    _deadline = deadline;
    _absent = this_shard().counters().absent;
    if (deadline != never && (!armed() || deadline < due())) {
        arm(deadline);
    }
}

void connection::patience::shorten(instant deadline) noexcept {
    if (deadline >= _deadline) {
        return;
    }
    try {
        if (!armed() || deadline < due()) {
            arm(deadline);
        }
        _deadline = deadline;
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): see the declaration
    }
}

void connection::patience::fire() noexcept {
    if (_deadline == never) {
        return;
    }
    if (const instant due = _deadline + missed(_absent); this_shard().now() < due) {
        arm(due);
        return;
    }
    _deadline = never;
    (_owner.*_late)();
}

void connection::machinery::start_receive() {
    receiving = true;
    receive.what = io::op::receive{fd};
    io::this_backend().start(receive);
}

void connection::machinery::start_private_receive() {
    if (aborted || !owner->_queue.empty()) {
        return;  // what is queued returns loans when it is taken; receive() then starts anew
    }
    try {
        own_receive =
            std::make_unique<private_receive>(*this, fd, owner->_options.private_buffer_bytes);
    } catch (const std::bad_alloc&) {
        return owner->abort(ENOMEM);
    }
    receiving = true;
    io::this_backend().start(*own_receive);
}

void connection::machinery::cancel_receive() noexcept {
    if (own_receive != nullptr) {
        io::this_backend().cancel(*own_receive);
    } else if (receiving) {
        io::this_backend().cancel(receive);
    }
}

void connection::machinery::cancel() noexcept {
    cancel_receive();
    if (sending) {
        io::this_backend().cancel(send);
    }
}

void connection::machinery::give_back(bool reset) noexcept {
    closing = true;
    close.what = io::op::close{.fd = std::exchange(fd, -1), .reset = reset};
    io::this_backend().start(close);
}

void connection::machinery::rest() noexcept {
    if (owner != nullptr || receiving || sending || closing) {
        return;
    }
    if (fd >= 0) {
        return give_back(false);
    }
    gone.set_value();
    delete this;
}

future<> connection::machinery::let_go(std::unique_ptr<machinery> all) noexcept {
    machinery* const kept = all.release();  // by itself, see rest()
    kept->receive_patience.cancel();
    kept->send_patience.cancel();
    if (kept->sending && !kept->aborted) {
        kept->aborted = true;
        kept->cancel();
        kept->give_back(true);
    } else {
        kept->cancel();
    }
    future<> ended = kept->gone.get_future();
    kept->owner = nullptr;
    kept->rest();
    return ended;
}

}  // namespace weir::net
