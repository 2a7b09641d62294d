// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <broker/protocol/api_versions.hh>
#include <broker/protocol/fetch.hh>
#include <broker/protocol/find_coordinator.hh>
#include <broker/protocol/list_offsets.hh>
#include <broker/protocol/metadata.hh>
#include <broker/protocol/produce.hh>

namespace weir::broker::protocol {

template <class Request, class Response>
struct exchange {
    static_assert(Request::key == Response::key);
    using request = Request;
    using response = Response;
};

/// Calls `f` once per API with its exchange, for code that treats all of them alike.
template <class Function>
void for_each_exchange(Function f) {
    f(exchange<produce_request, produce_response>{});
    f(exchange<fetch_request, fetch_response>{});
    f(exchange<list_offsets_request, list_offsets_response>{});
    f(exchange<metadata_request, metadata_response>{});
    f(exchange<find_coordinator_request, find_coordinator_response>{});
    f(exchange<api_versions_request, api_versions_response>{});
}

}  // namespace weir::broker::protocol
