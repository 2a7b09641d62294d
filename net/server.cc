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

server::server(server_options options, handler serve)
    : _options(std::move(options)),
      _serve(std::move(serve)),
      _log(this_host().log_sink(), "net", this_host().options().logging) {}

server::~server() {
    WEIR_ASSERT(_listener == nullptr || (_stopping && _open.empty()));
}

future<std::unique_ptr<server>> server::start(address at, server_options options, handler serve) {
    std::unique_ptr<server> made(new server(std::move(options), std::move(serve)));
    made->_listener =
        co_await listener::listen(at, made->_options.connection, &made->_counters.traffic);
    std::exception_ptr refused;
    try {
        made->register_metrics();
    } catch (...) {
        refused = std::current_exception();
    }
    if (refused) {
        made->_stopping = true;
        co_await made->_listener->close();
        std::rethrow_exception(refused);
    }
    made->_accepting = made->accept_all();
    co_return made;
}

void server::register_metrics() {
    metrics& registry = this_shard().metrics();
    const std::vector<metric_label> labels{
        {"server", _options.name.empty() ? where().to_string() : _options.name}};
    const auto count = [&](const char* name, const char* help, const std::uint64_t& field) {
        _metrics.push_back(registry.counter({name, help, labels}, &field));
    };
    const auto gauge = [&](const char* name, const char* help, std::function<double()> read) {
        _metrics.push_back(registry.gauge({name, help, labels}, std::move(read)));
    };
    gauge("weir_net_connections", "Connections open now.",
          [this] { return static_cast<double>(_open.size()); });
    gauge("weir_net_connections_limit", "Connections that a shard takes.",
          [this] { return static_cast<double>(_options.connections_max); });
    count("weir_net_accepted_total", "Connections taken.", _counters.accepted);
    count("weir_net_refused_total", "Connections refused at the limit.", _counters.refused);
    count("weir_net_failed_total", "Connections that ended with a failure.", _counters.failed);
    count("weir_net_aborted_total", "Connections cut when the grace of a stop was over.",
          _counters.aborted);
    count("weir_net_accept_failures_total", "Accepts that failed, for want of descriptors.",
          _listener->accept_failures());
    const connection_totals& traffic = _counters.traffic;
    count("weir_net_received_bytes_total", "Bytes received.", traffic.bytes_received);
    count("weir_net_sent_bytes_total", "Bytes sent.", traffic.bytes_sent);
    count("weir_net_receives_held_total", "Receives paused until earlier bytes were taken.",
          traffic.receives_held);
    count("weir_net_sends_too_slow_total", "Sends that a peer did not take in time.",
          traffic.sends_too_slow);
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
    std::string failure;
    try {
        co_await _serve(*taken);
    } catch (const std::exception& e) {
        failure = e.what();
    } catch (...) {
        failure = "not a std::exception";
    }
    if (!failure.empty()) {
        ++_counters.failed;
        _log.write(this_shard().log_context(), log_level::info, "connection failed",
                   {{"peer", taken->peer().to_string()}, {"cause", failure}});
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
