// SPDX-License-Identifier: Apache-2.0
#include <weir/net/server.hh>

#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>

namespace weir::net {

class server::grace_timer final : public timer {
  public:
    explicit grace_timer(server& owner) noexcept : _owner(owner) {}

  protected:
    void fire() noexcept override {
        for (const auto& [number, open] : _owner._open) {
            ++_owner._counters.aborted;
            open->abort();
        }
    }

  private:
    server& _owner;
};

server::server(std::unique_ptr<listener> from, server_options options, handler serve)
    : _listener(std::move(from)),
      _options(options),
      _serve(std::move(serve)),
      _log(this_host().log_sink(), "net", this_host().options().logging) {}

server::~server() {
    WEIR_ASSERT(_stopping && _open.empty());
}

future<std::unique_ptr<server>> server::start(address at, server_options options, handler serve) {
    auto from = co_await listener::listen(at, options.connection);
    std::unique_ptr<server> made(new server(std::move(from), options, std::move(serve)));
    made->_accepting = made->accept_all();
    co_return made;
}

future<> server::accept_all() {
    for (;;) {
        std::unique_ptr<connection> taken = co_await _listener->accept();
        if (!taken) {
            co_return;
        }
        if (_open.size() >= _options.connections_max || _stopping) {
            ++_counters.refused;
            co_await taken->close();
            continue;
        }
        const std::uint64_t number = _counters.accepted++;
        _open.emplace(number, taken.get());
        // Its end is known by _open; it never fails.
        serve_one(number, std::move(taken)).ignore();
    }
}

future<> server::serve_one(std::uint64_t number, std::unique_ptr<connection> taken) {
    try {
        co_await _serve(*taken);
    } catch (const std::exception& e) {
        ++_counters.failed;
        _log.write(this_shard().log_context(), log_level::info, "connection failed",
                   {{"peer", taken->peer().to_string()}, {"cause", e.what()}});
    }
    co_await taken->close();
    _open.erase(number);
    taken.reset();
    if (_open.empty() && _all_closed.open()) {
        _all_closed.set_value();
    }
}

future<> server::stop() {
    WEIR_ASSERT(!_stopping);
    _stopping = true;
    co_await _listener->close();
    co_await std::move(_accepting);
    for (const auto& [number, open] : _open) {
        open->shutdown_receive();
    }
    if (!_open.empty()) {
        grace_timer grace(*this);
        grace.arm(this_shard().now() + _options.stop_grace);
        co_await _all_closed.get_future();
    }
}

}  // namespace weir::net
