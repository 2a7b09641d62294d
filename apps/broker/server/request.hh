// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <broker/protocol/message.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>
#include <weir/net/frame.hh>

namespace weir::broker {

/// A request whose header has been read. It owns its frame, into which everything decoded from it
/// points, on whatever shard, until it is answered.
struct request {
    /// What the requests of one connection share.
    struct lines {
        abort_source ended;  ///< requested when nobody waits for answers any more
        semaphore produces;  ///< the one whose batches are on their way to their partitions
        semaphore fetches;   ///< those that may hold records
        semaphore answers;   ///< bytes that they may hold
    };

    request(net::frame taken, lines& of_connection)
        : frame(std::move(taken)),
          body(frame.bytes()),
          ended(of_connection.ended),
          produces(of_connection.produces),
          fetches(of_connection.fetches),
          answers(of_connection.answers) {
        header = protocol::decode_header(body);
    }

    net::frame frame;
    protocol::reader body;
    protocol::request_header header;
    abort_source& ended;
    semaphore& produces;
    semaphore& fetches;
    semaphore& answers;
};

/// What goes back, and what its borrowed bytes lie in.
struct answer {
    protocol::frame frame;
    std::vector<std::shared_ptr<const void>> kept;
    semaphore_units turn;    ///< of the connection's fetches
    semaphore_units share;   ///< of the connection's bytes of answers
    semaphore_units memory;  ///< of the budget for answers
    bool silent = false;     ///< nothing is sent (produce with acks=0)
    bool close = false;      ///< the connection ends after this
};

template <class Response>
answer make_answer(const request& asked, const Response& body) {
    return {protocol::response_frame(body, asked.header.version, asked.header.correlation_id)};
}

}  // namespace weir::broker
