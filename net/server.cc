// SPDX-License-Identifier: Apache-2.0
#include <weir/net/server.hh>

#include <algorithm>
#include <string_view>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/net/standing_timer.hh>

namespace weir::net {

namespace {

// Before the next connection is taken when there was no memory for the last.
constexpr duration pause_without_memory = std::chrono::milliseconds(50);

/// returns  what `failure` says, as long as that lives
std::string_view cause_of(const std::exception_ptr& failure) noexcept {
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& e) {
        return e.what();
    } catch (...) {
        return "not a std::exception";
    }
}

}  // namespace

/// A rest that needs no memory, and that stop() ends.
class server::pause_timer final : public standing_timer {
  public:
    future<> begin() noexcept {
        set(this_shard().now() + pause_without_memory);
        return _over.get_future();
    }
    void end() noexcept {
        if (unset()) {
            _over.set_value();
        }
    }

  protected:
    void expired() noexcept override { _over.set_value(); }

  private:
    promise<> _over;
};

/// Takes a connection out of those that are open, however its handler ends.
class server::leaving {
  public:
    leaving(server& from, std::uint64_t number) noexcept : _from(from), _number(number) {}
    leaving(const leaving&) = delete;
    leaving& operator=(const leaving&) = delete;
    ~leaving() {
        _from._open.erase(_number);
        if (_from._open.empty() && _from._all_closed.open()) {
            _from._all_closed.set_value();
        }
    }

  private:
    server& _from;
    const std::uint64_t _number;
};

class server::grace_timer final : public standing_timer {
  public:
    explicit grace_timer(server& owner) noexcept : _owner(owner) {}

  protected:
    void expired() noexcept override {
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
      _log(this_host().log_sink(), "net", this_host().options().logging),
      _pause(std::make_unique<pause_timer>()) {}

server::~server() {
    if (_listener != nullptr && (!_stopping || !_open.empty())) {
        destroyed_too_soon("a server at", where().to_string().c_str());
    }
}

future<std::unique_ptr<server>> server::start(address at, server_options options, handler serve) {
    std::unique_ptr<server> made(new server(std::move(options), std::move(serve)));
    made->_listener = co_await listener::listen(
        at,
        listener_options{.connection = made->_options.connection,
                         .accept_ahead = std::max<std::size_t>(made->_options.accept_ahead, 1)},
        &made->_counters.traffic);
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
    count("weir_net_lost_total", "Connections that there was no memory to serve.", _counters.lost);
    gauge("weir_net_accept_ahead_limit", "Connections taken from the kernel ahead of their turn.",
          [this] { return static_cast<double>(_options.accept_ahead); });
    count("weir_net_accept_failures_total", "Accepts that failed, for want of descriptors.",
          _listener->counters().accept_failures);
    count("weir_net_accepts_held_total", "Times that accept_ahead was reached.",
          _listener->counters().accepts_held);
    const connection_totals& traffic = _counters.traffic;
    count("weir_net_received_bytes_total", "Bytes received.", traffic.bytes_received);
    count("weir_net_sent_bytes_total", "Bytes sent.", traffic.bytes_sent);
    count("weir_net_receives_held_total", "Receives paused until earlier bytes were taken.",
          traffic.receives_held);
    count("weir_net_sends_too_slow_total", "Sends that a peer did not take in time.",
          traffic.sends_too_slow);
}

// Ends with the listener only: want of memory passes.
future<> server::accept_all() {
    for (;;) {
        bool failed = false;
        try {
            std::unique_ptr<connection> taken = co_await _listener->accept();
            if (!taken) {
                co_return;
            }
            take(std::move(taken));
        } catch (...) {
            failed = true;
            lose(std::current_exception());
        }
        if (failed && !_stopping) {
            co_await _pause->begin();
        }
    }
}

void server::take(std::unique_ptr<connection> taken) {
    if (_open.size() >= _options.connections_max || _stopping) {
        ++_counters.refused;
        return;  // which closes it
    }
    const std::uint64_t number = _counters.accepted;
    _open.emplace(number, taken.get());
    try {
        // Its end is known by _open.
        serve_one(number, std::move(taken)).ignore();
    } catch (...) {
        _open.erase(number);
        throw;
    }
    ++_counters.accepted;
}

void server::lose(const std::exception_ptr& failure) noexcept {
    ++_counters.lost;
    _log.write(this_shard().log_context(), log_level::warning, "connection lost, goes on",
               {{"server", _options.name}, {"cause", cause_of(failure)}});
}

future<> server::serve_one(std::uint64_t number, std::unique_ptr<connection> taken) {
    const leaving left(*this, number);
    std::exception_ptr failure;
    try {
        co_await _serve(*taken);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        ++_counters.failed;
        _log.write(this_shard().log_context(), log_level::info, "connection failed",
                   {{"peer", taken->peer().to_string()}, {"cause", cause_of(failure)}});
    }
    co_await taken->close();
}

void server::hurry_sends(instant deadline) noexcept {
    for (const auto& each : _open) {
        each.second->hurry_send(deadline);
    }
}

future<> server::stop() {
    WEIR_ASSERT(!_stopping);
    grace_timer grace(*this);  // first: there may be no memory for it, and then nothing has begun
    _stopping = true;
    co_await _listener->close();
    _pause->end();
    co_await std::move(_accepting);
    for (const auto& [number, open] : _open) {
        open->shutdown_receive();
    }
    if (!_open.empty()) {
        grace.set(this_shard().now() + _options.stop_grace);
        co_await _all_closed.get_future();
    }
}

}  // namespace weir::net
