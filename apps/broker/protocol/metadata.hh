// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include <broker/protocol/api.hh>
#include <broker/protocol/errors.hh>
#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

struct metadata_request {
    static constexpr api_key key = api_key::metadata;

    struct topic {
        std::string_view name;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("name", m.name);
        }
        bool operator==(const topic&) const = default;
    };

    std::optional<std::vector<topic>> topics;
    bool allow_auto_topic_creation = true;

    /// Version 0 says "all" with an empty list, later ones with null, and mean none by empty.
    bool wants_all(std::int16_t version) const noexcept {
        return !topics || (version == 0 && topics->empty());
    }

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("topics", m.topics, {.null_since = 1});
        v.field("allow_auto_topic_creation", m.allow_auto_topic_creation, {.since = 4});
    }
    bool operator==(const metadata_request&) const = default;
};

struct metadata_response {
    static constexpr api_key key = api_key::metadata;

    struct broker {
        std::int32_t node_id = 0;
        std::string_view host;
        std::int32_t port = 0;
        std::optional<std::string_view> rack;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("node_id", m.node_id);
            v.field("host", m.host);
            v.field("port", m.port);
            v.field("rack", m.rack, {.since = 1});
        }
        bool operator==(const broker&) const = default;
    };

    struct partition {
        error_code error = error_code::none;
        std::int32_t partition_index = 0;
        std::int32_t leader_id = -1;
        std::vector<std::int32_t> replica_nodes;
        std::vector<std::int32_t> isr_nodes;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("error_code", m.error);
            v.field("partition_index", m.partition_index);
            v.field("leader_id", m.leader_id);
            v.field("replica_nodes", m.replica_nodes);
            v.field("isr_nodes", m.isr_nodes);
        }
        bool operator==(const partition&) const = default;
    };

    struct topic {
        error_code error = error_code::none;
        std::string_view name;
        bool is_internal = false;
        std::vector<partition> partitions;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("error_code", m.error);
            v.field("name", m.name);
            v.field("is_internal", m.is_internal, {.since = 1});
            v.field("partitions", m.partitions);
        }
        bool operator==(const topic&) const = default;
    };

    std::int32_t throttle_time_ms = 0;
    std::vector<broker> brokers;
    std::optional<std::string_view> cluster_id;
    std::int32_t controller_id = -1;
    std::vector<topic> topics;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("throttle_time_ms", m.throttle_time_ms, {.since = 3});
        v.field("brokers", m.brokers);
        v.field("cluster_id", m.cluster_id, {.since = 2});
        v.field("controller_id", m.controller_id, {.since = 1});
        v.field("topics", m.topics);
    }
    bool operator==(const metadata_response&) const = default;
};

}  // namespace weir::broker::protocol
