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

/// What the requests of one connection share.
struct client {
    std::string peer;        ///< its address
    std::string software{};  ///< what it says it is
    abort_source ended{};    ///< requested when nobody waits for answers any more
    semaphore produces{1};   ///< the one whose batches are on their way to their partitions
    semaphore fetches;       ///< those that may hold records
    semaphore answers;       ///< bytes that they may hold
    semaphore look_ups{1};   ///< the one that looks up times
    semaphore reserved{1};   ///< the one request that may draw on what is kept for others
};

/// A request whose header has been read. It owns its frame, into which everything decoded from it
/// points, on whatever shard, until it is answered.
struct request {
    /// elements_max  that all arrays of the request may have together
    request(net::frame taken, client& sender, std::size_t elements_max)
        : frame(std::move(taken)), body(frame.bytes()), from(sender) {
        body.limit_elements(elements_max);
        header = protocol::decode_header(body);
    }

    net::frame frame;
    protocol::reader body;
    protocol::request_header header;
    client& from;
    semaphore_units place;  ///< of the client's `reserved`, until it is answered
};

/// What a request that names things takes, at most, beside its frame and what it reads: decoded,
/// listed and answered.
inline std::size_t request_bytes(const request& asked) noexcept {
    constexpr std::size_t bytes_per_byte = 32;
    return asked.frame.bytes().size() * bytes_per_byte;
}

/// What goes back, and what its borrowed bytes lie in.
struct answer {
    protocol::frame frame;
    std::vector<std::shared_ptr<const void>> kept;
    semaphore_units turn;    ///< of the connection's fetches
    semaphore_units own;     ///< of the memory for answers, for all but the records
    semaphore_units share;   ///< of the connection's bytes of answers
    semaphore_units memory;  ///< of the memory for answers
    bool silent = false;     ///< nothing is sent (produce with acks=0)
    bool close = false;      ///< the connection ends after this
};

/// own      memory that the request took for all but its records
template <class Response>
answer make_answer(const request& asked, const Response& body, semaphore_units own = {}) {
    answer made{protocol::response_frame(body, asked.header.version, asked.header.correlation_id)};
    made.own = std::move(own);
    return made;
}

}  // namespace weir::broker
