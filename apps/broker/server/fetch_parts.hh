// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include <broker/protocol/fetch.hh>
#include <broker/server/by_shard.hh>

namespace weir::broker {

/// One partition of a fetch: what is wanted of it, and what is known and read of it.
struct fetch_entry {
    std::string_view topic;  // in the frame
    const protocol::fetch_request::partition* wanted;

    protocol::error_code error = protocol::error_code::none;
    std::int64_t high_watermark = -1;
    std::int64_t log_start = -1;
    std::size_t there = 0;        // bytes to read, as far as they are wanted
    std::size_t first_bytes = 0;  // of the first batch; 0: not known
    std::size_t planned = 0;      // bytes that are read of it
    std::size_t first_max = 0;    // of its first batch, if that is larger
    std::vector<chunk> chunks{};
};

/// What a look at a partition told.
struct fetch_look {
    protocol::error_code error = protocol::error_code::none;
    std::int64_t high_watermark = -1;
    std::int64_t log_start = -1;
    read_outlook there{};
};

/// What a read of a partition gave.
struct fetch_read {
    protocol::error_code error = protocol::error_code::none;
    read_result got{};
};

// The parts of a fetch, each on the shard of the partitions `which`; `entries` lie with the caller.

/// Looks what there is, without reading it.
/// enough   bytes of one partition beyond which it doesn't matter how many there are
future<std::vector<numbered<fetch_look>>> look_at_all(broker& owner,
                                                      const std::vector<fetch_entry>& entries,
                                                      entry_numbers which, std::size_t enough);
/// Reads whole batches, as many bytes as are planned for each. Each has its own end.
future<std::vector<numbered<fetch_read>>> read_all(broker& owner,
                                                   const std::vector<fetch_entry>& entries,
                                                   entry_numbers which);
/// Leaves a ticket at each.
/// returns  one result if there is something new already, so that waiting would be wrong
future<std::vector<numbered<bool>>> watch_all(broker& owner,
                                              const std::vector<fetch_entry>& entries,
                                              entry_numbers which, fetch_ticket ticket);
future<std::vector<numbered<bool>>> unwatch_all(broker& owner,
                                                const std::vector<fetch_entry>& entries,
                                                entry_numbers which, fetch_ticket ticket);

}  // namespace weir::broker
