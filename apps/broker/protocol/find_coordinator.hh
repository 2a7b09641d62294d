// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include <broker/protocol/api.hh>
#include <broker/protocol/errors.hh>
#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

struct find_coordinator_request {
    static constexpr api_key key = api_key::find_coordinator;

    std::string_view group_id;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("group_id", m.group_id);
    }
    bool operator==(const find_coordinator_request&) const = default;
};

struct find_coordinator_response {
    static constexpr api_key key = api_key::find_coordinator;

    error_code error = error_code::none;
    std::int32_t node_id = -1;
    std::string_view host;
    std::int32_t port = -1;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("error_code", m.error);
        v.field("node_id", m.node_id);
        v.field("host", m.host);
        v.field("port", m.port);
    }
    bool operator==(const find_coordinator_response&) const = default;
};

}  // namespace weir::broker::protocol
