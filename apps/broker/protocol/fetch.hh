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

struct fetch_request {
    static constexpr api_key key = api_key::fetch;
    static constexpr std::int8_t read_committed = 1;  // as isolation_level

    struct partition {
        std::int32_t partition_index = 0;
        std::int32_t current_leader_epoch = -1;
        std::int64_t fetch_offset = 0;
        std::int64_t log_start_offset = -1;
        std::int32_t partition_max_bytes = 0;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("partition_index", m.partition_index);
            v.field("current_leader_epoch", m.current_leader_epoch, {.since = 9});
            v.field("fetch_offset", m.fetch_offset);
            v.field("log_start_offset", m.log_start_offset, {.since = 5});
            v.field("partition_max_bytes", m.partition_max_bytes);
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

    struct forgotten_topic {
        std::string_view name;
        std::vector<std::int32_t> partitions;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("name", m.name);
            v.field("partitions", m.partitions);
        }
        bool operator==(const forgotten_topic&) const = default;
    };

    std::int32_t replica_id = -1;
    std::int32_t max_wait_ms = 0;
    std::int32_t min_bytes = 0;
    std::int32_t max_bytes = 0x7fffffff;
    std::int8_t isolation_level = 0;  ///< 0: read uncommitted; or read_committed
    std::int32_t session_id = 0;
    std::int32_t session_epoch = -1;
    std::vector<topic> topics;
    std::vector<forgotten_topic> forgotten_topics;
    std::string_view rack_id;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("replica_id", m.replica_id);
        v.field("max_wait_ms", m.max_wait_ms);
        v.field("min_bytes", m.min_bytes);
        v.field("max_bytes", m.max_bytes);
        v.field("isolation_level", m.isolation_level);
        v.field("session_id", m.session_id, {.since = 7});
        v.field("session_epoch", m.session_epoch, {.since = 7});
        v.field("topics", m.topics);
        v.field("forgotten_topics", m.forgotten_topics, {.since = 7});
        v.field("rack_id", m.rack_id, {.since = 11});
    }
    bool operator==(const fetch_request&) const = default;
};

struct fetch_response {
    static constexpr api_key key = api_key::fetch;

    struct aborted_transaction {
        std::int64_t producer_id = 0;
        std::int64_t first_offset = 0;

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("producer_id", m.producer_id);
            v.field("first_offset", m.first_offset);
        }
        bool operator==(const aborted_transaction&) const = default;
    };

    struct partition {
        std::int32_t partition_index = 0;
        error_code error = error_code::none;
        std::int64_t high_watermark = -1;
        std::int64_t last_stable_offset = -1;
        std::int64_t log_start_offset = -1;
        std::optional<std::vector<aborted_transaction>> aborted_transactions;
        std::int32_t preferred_read_replica = -1;
        std::optional<record_span> records =
            record_span{};  ///< empty rather than null: clients trip over null

        template <class Visitor, class Self>
        static void fields(Visitor& v, Self& m) {
            v.field("partition_index", m.partition_index);
            v.field("error_code", m.error);
            v.field("high_watermark", m.high_watermark);
            v.field("last_stable_offset", m.last_stable_offset);
            v.field("log_start_offset", m.log_start_offset, {.since = 5});
            v.field("aborted_transactions", m.aborted_transactions);
            v.field("preferred_read_replica", m.preferred_read_replica, {.since = 11});
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

    std::int32_t throttle_time_ms = 0;
    error_code error = error_code::none;
    std::int32_t session_id = 0;  ///< 0: no session; the client sends all again
    std::vector<topic> topics;

    template <class Visitor, class Self>
    static void fields(Visitor& v, Self& m) {
        v.field("throttle_time_ms", m.throttle_time_ms);
        v.field("error_code", m.error, {.since = 7});
        v.field("session_id", m.session_id, {.since = 7});
        v.field("topics", m.topics);
    }
    bool operator==(const fetch_response&) const = default;
};

}  // namespace weir::broker::protocol
