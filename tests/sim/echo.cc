// SPDX-License-Identifier: Apache-2.0
#include <sim/echo.hh>

#include <cerrno>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/core/when.hh>
#include <weir/io/submit.hh>

namespace weir::test {

namespace {

namespace op = io::op;

constexpr std::byte change{0x55};

/// Connections of a listener, one after the other; nothing once it is cancelled.
class acceptor final : public io::operation {
  public:
    explicit acceptor(int listener) : operation(op::accept{listener}) {
        io::this_backend().start(*this);
    }
    void complete(const io::completion& outcome) noexcept override {
        if (outcome.result >= 0) {
            _accepted.push_back(outcome.result);
        }
        _ended = !outcome.more;
        if (_waiting.open()) {
            _waiting.set_value();
        }
    }
    /// returns  a descriptor, or -1 at the end
    future<int> next() {
        while (_accepted.empty() && !_ended) {
            _waiting = {};
            co_await _waiting.get_future();
        }
        if (_accepted.empty()) {
            co_return -1;
        }
        const int fd = _accepted.front();
        _accepted.pop_front();
        co_return fd;
    }

  private:
    std::deque<int> _accepted;
    bool _ended = false;
    promise<> _waiting;
};

future<> send_all(int fd, std::span<std::byte> bytes) {
    while (!bytes.empty()) {
        const iovec part{bytes.data(), bytes.size()};
        const auto count = co_await io::submit_or_fail(
            op::send{.fd = fd, .vector = &part, .vector_count = 1}, "send", "echo");
        bytes = bytes.subspan(static_cast<std::size_t>(count));
    }
}

future<std::size_t> receive_some(int fd, std::span<std::byte> into) {
    const auto count = co_await io::submit_or_fail(
        op::receive_into{fd, into.data(), static_cast<std::uint32_t>(into.size())}, "receive",
        "echo");
    co_return static_cast<std::size_t>(count);
}

/// What the server has on one shard.
struct server_shard {
    int listener = -1;
    std::unique_ptr<acceptor> accepting;
    echo_totals totals;
    future<> serving;
};

/// On shard 0.
struct server_state {
    std::vector<std::unique_ptr<server_shard>> shards;
    unsigned connections_left = 0;
    promise<> all_ended;
};

future<> serve_connection(server_shard& own, int fd) {
    const shard_id next = (this_shard().id() + 1) % this_host().shard_count();
    std::vector<std::byte> buffer(4096);
    while (const std::size_t count = co_await receive_some(fd, buffer)) {
        const std::span<std::byte> bytes(buffer.data(), count);
        co_await on(next, [bytes] {
            for (std::byte& each : bytes) {
                each ^= change;
            }
        });
        co_await send_all(fd, bytes);
        own.totals.bytes += count;
        ++own.totals.hops;
    }
    ++own.totals.connections;
    co_await io::submit_or_fail(op::close{fd}, "close", "echo");
}

future<> serve(server_shard& own, server_state& state) {
    std::vector<future<>> connections;
    for (int fd; (fd = co_await own.accepting->next()) >= 0;) {
        connections.push_back(serve_connection(own, fd).then([&state] {
            return on(0, [&state] {
                if (--state.connections_left == 0) {
                    state.all_ended.set_value();
                }
            });
        }));
    }
    co_await when_all_succeed(std::move(connections));
    co_await io::submit_or_fail(op::close{own.listener}, "close", "listener");
}

future<> start_listening(server_shard& own, server_state& state, const echo_options& options) {
    sockaddr_storage address = options.server;
    own.listener = co_await io::submit_or_fail(
        op::listen{.address = &address, .address_length = options.server_length}, "listen", "echo");
    own.accepting = std::make_unique<acceptor>(own.listener);
    own.serving = serve(own, state);
}

future<> finish_listening(server_shard& own) {
    io::this_backend().cancel(*own.accepting);
    co_await std::move(own.serving);
    own.accepting.reset();
}

future<int> connect(const echo_options& options) {
    for (;;) {
        const auto fd = co_await io::submit(op::connect{&options.server, options.server_length});
        if (fd != -ECONNREFUSED) {
            if (fd < 0) {
                throw error::from_errno("connect", "echo", -fd);
            }
            co_return fd;
        }
        co_await sleep_for(std::chrono::milliseconds(1));
    }
}

future<> echo_message(int fd, std::vector<std::byte> message) {
    std::vector<std::byte> answer(message.size());
    future<> sending = send_all(fd, message);
    std::size_t received = 0;
    while (received < answer.size()) {
        const std::size_t count = co_await receive_some(fd, std::span(answer).subspan(received));
        if (count == 0) {
            break;
        }
        received += count;
    }
    co_await std::move(sending);
    for (std::byte& each : answer) {
        each ^= change;
    }
    if (answer != message) {
        throw error("echo", "answer", errc::corrupt);
    }
}

future<> run_connection(const echo_options& options, std::uint32_t number, echo_totals& totals) {
    const int fd = co_await connect(options);
    std::uint32_t state = number * 2654435761U + 1;
    const auto draw = [&state] {
        state = state * 1664525 + 1013904223;
        return state >> 8;
    };
    for (unsigned i = 0; i < options.messages; ++i) {
        std::vector<std::byte> message(1 + draw() % options.largest_message);
        for (std::byte& each : message) {
            each = static_cast<std::byte>(draw());
        }
        totals.bytes += message.size();
        co_await echo_message(fd, std::move(message));
        co_await sleep_for(options.pause);
    }
    co_await io::submit_or_fail(op::shutdown{fd, SHUT_WR}, "shutdown", "echo");
    std::byte none;
    if (co_await receive_some(fd, {&none, 1}) != 0) {
        throw error("echo", "end", errc::corrupt);
    }
    co_await io::submit_or_fail(op::close{fd}, "close", "echo");
    ++totals.connections;
}

// On one shard of the client.
future<echo_totals> run_connections(const echo_options& options) {
    echo_totals totals;
    std::vector<future<>> connections;
    for (unsigned i = 0; i < options.connections; ++i) {
        connections.push_back(
            run_connection(options, this_shard().id() * options.connections + i, totals));
    }
    co_await when_all_succeed(std::move(connections));
    co_return totals;
}

}  // namespace

future<echo_totals> echo_server(host& owner, echo_options options) {
    server_state state;
    state.connections_left = options.client_shards * options.connections;
    future<> ended = state.all_ended.get_future();
    for (shard_id id = 0; id < owner.shard_count(); ++id) {
        state.shards.push_back(std::make_unique<server_shard>());
        co_await on(id, [own = state.shards.back().get(), &state, &options] {
            return start_listening(*own, state, options);
        });
    }
    co_await std::move(ended);
    echo_totals totals;
    for (shard_id id = 0; id < owner.shard_count(); ++id) {
        server_shard& own = *state.shards[id];
        co_await on(id, [&own] { return finish_listening(own); });
        totals.connections += own.totals.connections;
        totals.bytes += own.totals.bytes;
        totals.hops += own.totals.hops;
    }
    co_return totals;
}

future<echo_totals> echo_client(host& owner, echo_options options) {
    std::vector<future<echo_totals>> shards;
    for (shard_id id = 0; id < owner.shard_count(); ++id) {
        shards.push_back(on(id, [&options] { return run_connections(options); }));
    }
    echo_totals totals;
    for (const echo_totals& each : co_await when_all_succeed(std::move(shards))) {
        totals.connections += each.connections;
        totals.bytes += each.bytes;
        ++totals.hops;
    }
    co_return totals;
}

}  // namespace weir::test
