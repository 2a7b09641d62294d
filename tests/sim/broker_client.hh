// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>

#include <broker/protocol/message.hh>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/net/connection.hh>
#include <weir/net/frame.hh>

namespace weir::broker::sim_test {

/// An answer that came out of turn, or that does not decode.
struct bad_answer {
    std::string what;
};

template <class Response>
struct reply {
    net::frame frame;  ///< what the body points into
    Response body;
};

/// One connection to a broker, as a Kafka client keeps one: requests may follow one another
/// without waiting, and answers come in their order. close() before its destruction.
class kafka_client {
  public:
    static future<std::unique_ptr<kafka_client>> connect(net::address to, duration patience) {
        auto socket =
            co_await net::connection::connect(std::move(to), {}, this_shard().now() + patience);
        co_return std::make_unique<kafka_client>(std::move(socket), patience);
    }

    /// patience  for an answer to begin, and for it to be whole
    kafka_client(std::unique_ptr<net::connection> socket, duration patience)
        : _socket(std::move(socket)),
          _frames(*_socket, {.idle_max = patience, .frame_time_max = patience}) {}

    template <class Request>
    future<> send(const Request& body, std::int16_t version) {
        const auto bytes = protocol::request_frame(body, version, _next_number, "simulated").flat();
        _asked.push_back({_next_number++, version});
        co_await _socket->send(bytes);
    }

    /// The answer to the oldest request that has none.
    /// fails    weir::error: the connection is gone, or no answer in time; bad_answer
    template <class Response>
    future<reply<Response>> receive() {
        reply<Response> result{co_await _frames.next(), {}};
        if (result.frame.what() != net::frame::status::complete) {
            throw error("receive", "answer", errc::timed_out);
        }
        const auto [number, version] = _asked.front();
        _asked.pop_front();
        protocol::reader in(result.frame.bytes());
        const auto header = protocol::decode_header(in, Response::key, version);
        if (!in.ok() || header.correlation_id != number) {
            throw bad_answer{"an answer out of order: to request " +
                             std::to_string(header.correlation_id) + ", not " +
                             std::to_string(number)};
        }
        if (!protocol::decode(in, version, result.body)) {
            throw bad_answer{"an answer that does not decode: " + std::string(in.failed_field())};
        }
        co_return std::move(result);
    }

    future<> close() { return _socket->close(); }

  private:
    struct asked {
        std::int32_t number;
        std::int16_t version;
    };
    std::unique_ptr<net::connection> _socket;
    net::frame_reader _frames;
    std::deque<asked> _asked;
    std::int32_t _next_number = 1;
};

}  // namespace weir::broker::sim_test
