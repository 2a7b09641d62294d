// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/sockets.hh>

#include <optional>

#include <weir/core/abort.hh>
#include <weir/core/await_all.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/shard.hh>

namespace weir::pipeline {

namespace {

/// A connection that is there, or one to be made.
class peer {
  public:
    peer(net::address at, const socket_options& options) : _at(at), _options(options) {}
    /// home     the shard of the connection
    peer(net::connection& lent, shard_id home) : _connection(&lent), _home(home) {}

    net::connection* connection() noexcept { return _connection; }
    /// Connections belong to one shard, and a pipeline may be placed elsewhere.
    bool here() const noexcept { return !_home || *_home == this_shard().id(); }
    void check_shard(const char* operation) const {
        if (!here()) {
            throw error(operation, "socket: the connection belongs to another shard",
                        errc::malformed);
        }
    }
    future<> connect() {
        _own = co_await with_abort(
            _giving_up, net::connection::connect(_at, _options.connection,
                                                 this_shard().now() + _options.connect_time_max));
        _connection = _own.get();
    }
    /// A connect that is under way fails, and each after it.
    void give_up() noexcept { _giving_up.request(); }
    future<> close() {
        if (_own) {
            co_await _own->close();
        }
    }

  private:
    const net::address _at;
    const socket_options _options;
    abort_source _giving_up;
    std::unique_ptr<net::connection> _own;
    net::connection* _connection = nullptr;
    const std::optional<shard_id> _home;
};

class reader final : public byte_reader {
  public:
    template <typename... Args>
    explicit reader(Args&&... args) : _peer(std::forward<Args>(args)...) {}

    future<buffer> read() override {
        _peer.check_shard("receive");
        if (_peer.connection() == nullptr) {
            future<> connected = _peer.connect();
            co_await settled(connected);
            if (_stopped) {
                std::move(connected).ignore();
                co_return buffer();
            }
            co_await std::move(connected);
        }
        if (_stopped) {
            co_return buffer();
        }
        const net::received data = co_await _peer.connection()->receive();
        // The loan goes back at once: a ring would keep it for as long as it likes.
        co_return buffer::copy_of(data.bytes());
    }
    void stop() noexcept override {
        _stopped = true;
        if (_peer.connection() == nullptr) {
            _peer.give_up();
        } else if (_peer.here()) {
            _peer.connection()->shutdown_receive();
        }
    }
    future<> close() override { return _peer.close(); }

  private:
    peer _peer;
    bool _stopped = false;
};

class writer final : public byte_writer {
  public:
    template <typename... Args>
    explicit writer(Args&&... args) : _peer(std::forward<Args>(args)...) {}

    future<> write(std::span<const iovec> parts) override {
        co_await connect();
        _failed = true;
        _peer.check_shard("send");
        co_await _peer.connection()->send(parts);
        _failed = false;
    }
    void stop() noexcept override {
        if (_peer.connection() == nullptr) {
            _peer.give_up();
        } else if (_peer.here()) {
            _peer.connection()->abort();
        }
    }
    future<> close() override {
        if (!_failed && _peer.here()) {
            co_await connect();
            co_await _peer.connection()->shutdown_send().finally([this] { return _peer.close(); });
        } else {
            co_await _peer.close();
        }
    }

  private:
    future<> connect() {
        if (_peer.connection() == nullptr) {
            _failed = true;
            co_await _peer.connect();
            _failed = false;
        }
    }

    peer _peer;
    bool _failed = false;
};

make_reader connecting(net::address from, const socket_options& options) {
    return [from, options] { return std::make_unique<reader>(from, options); };
}

template <typename End>
auto lent(net::connection& connection) {
    return
        [&connection, home = this_shard().id()] { return std::make_unique<End>(connection, home); };
}

}  // namespace

source_of<block> socket_blocks(net::address from, socket_options options) {
    return blocks_from("socket", connecting(from, options));
}

source_of<line> socket_lines(net::address from, socket_options options) {
    return lines_from("socket", from.to_string(), connecting(from, options), options.lines);
}

source_of<block> socket_blocks(net::connection& from, socket_options) {
    return blocks_from("socket", lent<reader>(from));
}

source_of<line> socket_lines(net::connection& from, socket_options options) {
    return lines_from("socket", from.peer().to_string(), lent<reader>(from), options.lines);
}

make_writer socket_writer(net::address to, socket_options options) {
    return [to, options] { return std::make_unique<writer>(to, options); };
}

make_writer socket_writer(net::connection& to, socket_options) {
    return lent<writer>(to);
}

}  // namespace weir::pipeline
