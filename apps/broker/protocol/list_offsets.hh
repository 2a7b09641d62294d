// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include <broker/protocol/api.hh>
#include <broker/protocol/errors.hh>
#include <broker/protocol/schema.hh>

namespace weir::broker::protocol {

struct list_offsets_request {
    static constexpr api_key key = api_key::list_offsets;
    static constexpr std::int64_t latest = -1;
    static constexpr std::int64_t earliest = -2;

    struct partition {
        std::int32_t partition_index = 0;
        std::int64_t timestamp = latest;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("partition_index", m.partition_index);
            v.field("timestamp", m.timestamp);
        }
        bool operator==(const partition&) const = default;
    };

    struct topic {
        std::string_view name;
        std::vector<partition> partitions;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("name", m.name);
            v.field("partitions", m.partitions);
        }
        bool operator==(const topic&) const = default;
    };

    std::int32_t replica_id = -1;
    std::int8_t isolation_level = 0;
    std::vector<topic> topics;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("replica_id", m.replica_id);
        v.field("isolation_level", m.isolation_level, {.since = 2});
        v.field("topics", m.topics);
    }
    bool operator==(const list_offsets_request&) const = default;
};

struct list_offsets_response {
    static constexpr api_key key = api_key::list_offsets;

    struct partition {
        std::int32_t partition_index = 0;
        error_code error = error_code::none;
        std::int64_t timestamp = -1;
        std::int64_t offset = -1;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("partition_index", m.partition_index);
            v.field("error_code", m.error);
            v.field("timestamp", m.timestamp);
            v.field("offset", m.offset);
        }
        bool operator==(const partition&) const = default;
    };

    struct topic {
        std::string_view name;
        std::vector<partition> partitions;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("name", m.name);
            v.field("partitions", m.partitions);
        }
        bool operator==(const topic&) const = default;
    };

    std::int32_t throttle_time_ms = 0;
    std::vector<topic> topics;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("throttle_time_ms", m.throttle_time_ms, {.since = 2});
        v.field("topics", m.topics);
    }
    bool operator==(const list_offsets_response&) const = default;
};

}  // namespace weir::broker::protocol
