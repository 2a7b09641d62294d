// SPDX-License-Identifier: Apache-2.0
#include <weir/net/listener.hh>

#include <cerrno>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/probe.hh>
#include <weir/io/submit.hh>

namespace weir::net {

namespace {

constexpr duration retry_pause = std::chrono::milliseconds(50);

}  // namespace

class listener::accept_operation final : public io::operation {
  public:
    accept_operation(listener& owner, int fd) : operation(io::op::accept{fd}), _owner(owner) {}

    void complete(const io::completion& outcome) noexcept override {
        listener& owner = _owner;
        if (outcome.result >= 0) {
            owner.arrived(outcome.result);
        }
        if (!outcome.more) {
            owner.stopped(outcome.result);
        }
    }

  private:
    listener& _owner;
};

class listener::retry_timer final : public timer {
  public:
    explicit retry_timer(listener& owner) noexcept : _owner(owner) {}

  protected:
    void fire() noexcept override { _owner.start(); }

  private:
    listener& _owner;
};

listener::listener(int fd, address where, const connection_options& options,
                   connection_totals* totals)
    : _fd(fd),
      _where(where),
      _options(options),
      _totals(totals),
      _operation(std::make_unique<accept_operation>(*this, fd)),
      _retry(std::make_unique<retry_timer>(*this)) {}

listener::~listener() {
    WEIR_ASSERT(_closed && !_accepting);
}

future<std::unique_ptr<listener>> listener::listen(address at, connection_options options,
                                                   connection_totals* totals) {
    const std::int32_t fd = co_await io::submit_or_fail(io::op::listen{&at.raw(), at.raw_length()},
                                                        "listen", at.to_string());
    std::unique_ptr<listener> made(new listener(fd, at, options, totals));
    made->start();
    co_return made;
}

void listener::start() {
    if (_accepting || _closed || _queue.size() >= accept_ahead) {
        return;
    }
    _accepting = true;
    io::this_backend().start(*_operation);
}

void listener::arrived(int fd) {
    if (_closed) {
        io::submit(io::op::close{fd}).ignore();
    } else if (_waiting.open()) {
        _waiting.set_value(fd);
    } else {
        _queue.push_back(fd);
        if (_queue.size() == accept_ahead) {
            io::this_backend().cancel(*_operation);
        }
    }
}

void listener::stopped(std::int32_t result) {
    _accepting = false;
    if (_closing.open()) {
        _closing.set_value();
    } else if (result >= 0 || result == -ECANCELED) {
        start();  // if the queue has been emptied since
    } else {
        ++_failures;
        _retry->arm(this_shard().now() + retry_pause);
    }
}

future<std::unique_ptr<connection>> listener::accept() {
    WEIR_ASSERT(!_waiting.open());
    if (!_queue.empty()) {
        const int fd = _queue.front();
        _queue.pop_front();
        start();
        co_return co_await take(fd);
    }
    if (_closed) {
        co_return nullptr;
    }
    start();
    const int fd = co_await _waiting.get_future();
    co_return fd < 0 ? nullptr : co_await take(fd);
}

future<std::unique_ptr<connection>> listener::take(int fd) {
    probe("accept");
    auto made = std::make_unique<connection>(fd, _options, _totals);
    sockaddr_storage peer{};
    if (co_await io::submit(io::op::socket_name{fd, true, &peer}) >= 0) {
        made->_peer = address::from(peer);
    }
    co_return made;
}

future<> listener::close() {
    WEIR_ASSERT(!_closed);
    _closed = true;
    _retry->cancel();
    if (_accepting) {
        future<> idle = _closing.get_future();
        io::this_backend().cancel(*_operation);
        co_await std::move(idle);
    }
    while (!_queue.empty()) {
        co_await io::submit(io::op::close{std::exchange(_queue.front(), -1)});
        _queue.pop_front();
    }
    if (_waiting.open()) {
        _waiting.set_value(-1);
    }
    co_await io::submit(io::op::close{_fd});
}

}  // namespace weir::net
