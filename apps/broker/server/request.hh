// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <broker/protocol/message.hh>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/semaphore.hh>
#include <weir/net/frame.hh>

namespace weir::broker {

/// Of what a client says it is so much is remembered, and written in the log.
inline constexpr std::size_t longest_software = 64;

/// A request whose header has been read. It owns its frame, into which everything decoded from it
/// points, on whatever shard, until it is answered.
struct request {
    /// What the requests of one connection share.
    struct lines {
        abort_source ended;  ///< requested when nobody waits for answers any more
        semaphore produces;  ///< the one whose batches are on their way to their partitions
        semaphore fetches;   ///< those that may hold records
        semaphore answers;   ///< bytes that they may hold
        semaphore look_ups;  ///< the one that looks up times
        semaphore reserved;  ///< the one request that may draw on what is kept for others
    };

    /// elements_max  that all arrays of the request may have together
    request(net::frame taken, lines& of_connection, std::size_t elements_max)
        : frame(std::move(taken)),
          body(frame.bytes()),
          ended(of_connection.ended),
          produces(of_connection.produces),
          fetches(of_connection.fetches),
          answers(of_connection.answers),
          look_ups(of_connection.look_ups),
          reserved(of_connection.reserved) {
        body.limit_elements(elements_max);
        header = protocol::decode_header(body);
    }

    net::frame frame;
    protocol::reader body;
    protocol::request_header header;
    abort_source& ended;
    semaphore& produces;
    semaphore& fetches;
    semaphore& answers;
    semaphore& look_ups;
    semaphore& reserved;
    semaphore_units place;  ///< of `reserved`, until it is answered
};

/// What goes back, and what its borrowed bytes lie in.
struct answer {
    protocol::frame frame;
    std::vector<std::shared_ptr<const void>> kept;
    std::string software;    ///< what the client says it is, if it has said so
    semaphore_units turn;    ///< of the connection's fetches
    semaphore_units own;     ///< of the memory for answers, for all but the records
    semaphore_units share;   ///< of the connection's bytes of answers
    semaphore_units memory;  ///< of the memory for answers
    bool silent = false;     ///< nothing is sent (produce with acks=0)
    bool close = false;      ///< the connection ends after this
};

template <class Response>
answer make_answer(const request& asked, const Response& body) {
    return {protocol::response_frame(body, asked.header.version, asked.header.correlation_id)};
}

}  // namespace weir::broker
