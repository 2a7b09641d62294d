// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <broker/protocol/message.hh>
#include <broker/server/request.hh>

#include <weir/core/error.hh>

namespace weir::broker {

/// Decodes the body of a request. What a client says behind its end is ignored, as in Kafka.
/// fails    weir::error (malformed) that names the API and the field; the connection is closed
template <class Message>
Message decode_body(request& asked) {
    Message body;
    if (!protocol::decode_some(asked.body, asked.header.version, body)) {
        throw error("decode " + std::string(protocol::name(asked.header.key)),
                    asked.body.failed_field(), errc::malformed);
    }
    return body;
}

}  // namespace weir::broker
