// SPDX-License-Identifier: Apache-2.0
#include <weir/net/listener.hh>

#include <cerrno>
#include <new>
#include <system_error>
#include <utility>
#include <variant>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/log.hh>
#include <weir/core/probe.hh>
#include <weir/core/wait_line.hh>
#include <weir/io/submit.hh>
#include <weir/net/standing_timer.hh>

namespace weir::net {

/// What a listener does. It lives until close() has ended, which a listener that goes leaves alone.
class listener::acceptor {
  public:
    using accepted = std::unique_ptr<connection>;

    acceptor(int fd, address where, const listener_options& options, connection_totals* totals)
        : _fd(fd),
          _where(where),
          _options(options),
          _totals(totals),
          _log(this_host().log_sink(), "net", this_host().options().logging),
          _operation(*this),
          _retry(*this) {}

    void start();
    future<accepted> accept(abort_source* give_up);
    static future<> close(std::shared_ptr<acceptor> closed);

    bool closed() const noexcept { return _closed; }
    const address& where() const noexcept { return _where; }
    const listener_counters& counters() const noexcept { return _counters; }

  private:
    class accept_operation;
    class newcomer;

    class accept_operation final : public io::operation {
      public:
        explicit accept_operation(acceptor& owner) noexcept
            : operation(io::op::accept{owner._fd}), _owner(owner) {}
        void complete(const io::completion& outcome) noexcept override;

      private:
        acceptor& _owner;
    };
    /// Who waits, each with all that its connection needs.
    class line final : public wait_line<accepted, accepted> {};
    class retry_timer final : public standing_timer {
      public:
        explicit retry_timer(acceptor& owner) noexcept : _owner(owner) {}

      protected:
        void expired() noexcept override { _owner.start(); }

      private:
        acceptor& _owner;
    };

    void arrived(int fd) noexcept;
    void named(newcomer& known) noexcept;
    void refused(newcomer& closed) noexcept;
    void stopped(std::int32_t result) noexcept;
    void failed(std::int32_t errno_value) noexcept;
    accepted take(accepted prepared) noexcept;
    newcomer& pop_first() noexcept;
    void settle() noexcept;

    const int _fd;
    const address _where;
    const listener_options _options;
    connection_totals* const _totals;
    logger _log;
    accept_operation _operation;
    retry_timer _retry;
    newcomer* _first = nullptr;  // in line to be taken
    newcomer* _last = nullptr;
    std::size_t _ahead = 0;  // those, and those whose names are not known yet
    line _waiting;
    promise<> _settled;
    bool _accepting = false;
    bool _holding = false;
    bool _closed = false;
    listener_counters _counters;
};

/// A connection that came and is not taken yet: it learns its peer's name, and stands in line.
class listener::acceptor::newcomer final : public io::operation, public detail::pooled {
  public:
    newcomer(acceptor& owner, int fd) noexcept : operation(io::op::nop{}), _owner(owner), _fd(fd) {
        what = io::op::socket_name{fd, true, &_peer.raw()};
        io::this_backend().start(*this);
    }

    int fd() const noexcept { return _fd; }
    const address& peer() const noexcept { return _peer; }
    void refuse() noexcept {
        what = io::op::close{_fd};
        io::this_backend().start(*this);
    }
    void complete(const io::completion&) noexcept override {
        if (std::holds_alternative<io::op::close>(what)) {
            _owner.refused(*this);
        } else {
            _owner.named(*this);
        }
    }

    newcomer* behind = nullptr;

  private:
    acceptor& _owner;
    const int _fd;
    address _peer;
};

void listener::acceptor::accept_operation::complete(const io::completion& outcome) noexcept {
    if (outcome.result >= 0) {
        _owner.arrived(outcome.result);
    }
    if (!outcome.more) {
        _owner.stopped(outcome.result);
    }
}

void listener::acceptor::start() {
    if (!_accepting && !_closed && _ahead < _options.accept_ahead) {
        _accepting = true;
        _holding = false;
        io::this_backend().start(_operation);
    }
}

// Whatever is there comes in one poll; their names are asked for at once, and come in the next.
void listener::acceptor::arrived(int fd) noexcept {
    try {
        new newcomer(*this, fd);
        ++_ahead;
    } catch (const std::bad_alloc&) {
        failed(ENOMEM);
        io::discard(fd);
    }
    if (_ahead >= _options.accept_ahead && !_holding) {
        _holding = true;
        ++_counters.accepts_held;
        io::this_backend().cancel(_operation);
    }
}

void listener::acceptor::named(newcomer& known) noexcept {
    (_last != nullptr ? _last->behind : _first) = &known;
    _last = &known;
    while (_first != nullptr && !_closed) {
        accepted* const prepared = _waiting.first();
        if (prepared == nullptr) {
            break;
        }
        accepted made = take(std::move(*prepared));
        _waiting.serve_first(std::move(made));
    }
    start();
    settle();
}

void listener::acceptor::refused(newcomer& closed) noexcept {
    delete &closed;
    --_ahead;
    settle();
}

void listener::acceptor::stopped(std::int32_t result) noexcept {
    _accepting = false;
    if (result >= 0 || result == -ECANCELED) {
        start();  // if there is room
    } else if (!_closed) {
        failed(-result);
        _retry.set(this_shard().now() + _options.retry_pause);
    }
    settle();
}

// Whatever it is passes: somebody gives descriptors or memory back, or the next peer stays.
void listener::acceptor::failed(std::int32_t errno_value) noexcept {
    ++_counters.accept_failures;
    try {
        _log.write(this_shard().log_context(), log_level::warning, "accept failed, tries again",
                   {{"server", _where.to_string()},
                    {"cause", std::generic_category().message(errno_value)}});
    } catch (const std::bad_alloc&) {  // NOLINT(bugprone-empty-catch): it is counted
    }
}

listener::acceptor::newcomer& listener::acceptor::pop_first() noexcept {
    newcomer& popped = *_first;
    _first = popped.behind;
    _last = _first == nullptr ? nullptr : _last;
    return popped;
}

listener::acceptor::accepted listener::acceptor::take(accepted prepared) noexcept {
    probe("accept");
    newcomer& taken = pop_first();
    prepared->adopt(taken.fd(), taken.peer());
    delete &taken;
    --_ahead;
    return prepared;
}

// What is left when nobody takes any more is closed; then close() goes on.
void listener::acceptor::settle() noexcept {
    while (_closed && _first != nullptr) {
        pop_first().refuse();
    }
    if (_settled.open() && !_accepting && _ahead == 0) {
        _settled.set_value();
    }
}

future<std::unique_ptr<connection>> listener::acceptor::accept(abort_source* give_up) {
    accepted prepared(new connection(_options.connection, _totals));
    if (_first != nullptr) {
        auto taken = make_ready_future<accepted>(take(std::move(prepared)));
        start();
        return taken;
    }
    if (_closed) {
        return make_ready_future<accepted>();
    }
    return _waiting.wait(give_up, std::move(prepared));
}

future<> listener::acceptor::close(std::shared_ptr<acceptor> closed) {
    acceptor& own = *closed;
    WEIR_ASSERT(!own._closed);
    own._closed = true;
    own._retry.unset();
    while (own._waiting.first() != nullptr) {
        own._waiting.serve_first(nullptr);
    }
    if (own._accepting) {
        io::this_backend().cancel(own._operation);
    }
    own.settle();
    if (own._accepting || own._ahead > 0) {
        co_await own._settled.get_future();
    }
    try {
        co_await io::submit(io::op::close{own._fd});
    } catch (const std::bad_alloc&) {
        io::this_backend().close_now(own._fd);
    }
}

future<std::unique_ptr<listener>> listener::listen(address at, listener_options options,
                                                   connection_totals* totals) {
    const std::int32_t fd = co_await io::submit_or_fail(io::op::listen{&at.raw(), at.raw_length()},
                                                        "listen", at.to_string());
    std::unique_ptr<listener> made;
    try {
        made.reset(new listener(std::make_shared<acceptor>(fd, at, options, totals)));
    } catch (...) {
        io::discard(fd);
        throw;
    }
    made->_acceptor->start();
    co_return made;
}

listener::~listener() {
    if (!_acceptor->closed()) {
        acceptor::close(_acceptor).ignore();
    }
}

future<std::unique_ptr<connection>> listener::accept() {
    return _acceptor->accept(nullptr);
}

future<std::unique_ptr<connection>> listener::accept(abort_source& give_up) {
    return _acceptor->accept(&give_up);
}

future<std::unique_ptr<connection>> listener::accept(instant deadline) {
    abort_source late;
    late.abort_at(deadline);
    co_return co_await accept(late);
}

future<> listener::close() {
    return acceptor::close(_acceptor);
}

address listener::where() const noexcept {
    return _acceptor->where();
}

const listener_counters& listener::counters() const noexcept {
    return _acceptor->counters();
}

}  // namespace weir::net
