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

/// Versions 0 to 2 decode so that they can be refused with an answer: their clients send old
/// message sets, which weir does not keep.
struct produce_request {
    static constexpr api_key key = api_key::produce;

    struct partition {
        std::int32_t index = 0;
        std::optional<record_span> records;  ///< one batch; null is refused

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("index", m.index);
            v.field("records", m.records);
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

    std::optional<std::string_view> transactional_id;
    std::int16_t acks = 0;  ///< 0: no answer at all; 1: the leader; -1: all in sync
    std::int32_t timeout_ms = 0;
    std::vector<topic> topics;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("transactional_id", m.transactional_id, {.since = 3});
        v.field("acks", m.acks);
        v.field("timeout_ms", m.timeout_ms);
        v.field("topics", m.topics);
    }
    bool operator==(const produce_request&) const = default;
};

struct produce_response {
    static constexpr api_key key = api_key::produce;

    struct partition {
        std::int32_t index = 0;
        error_code error = error_code::none;
        std::int64_t base_offset = -1;
        std::int64_t log_append_time_ms = -1;
        std::int64_t log_start_offset = -1;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("index", m.index);
            v.field("error_code", m.error);
            v.field("base_offset", m.base_offset);
            v.field("log_append_time_ms", m.log_append_time_ms, {.since = 2});
            v.field("log_start_offset", m.log_start_offset, {.since = 5});
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

    std::vector<topic> topics;
    std::int32_t throttle_time_ms = 0;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("topics", m.topics);
        v.field("throttle_time_ms", m.throttle_time_ms, {.since = 1});
    }
    bool operator==(const produce_response&) const = default;
};

}  // namespace weir::broker::protocol
