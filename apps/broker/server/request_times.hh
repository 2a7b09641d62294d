// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <iterator>
#include <vector>

#include <broker/protocol/api.hh>

#include <weir/core/histogram.hh>
#include <weir/core/metrics.hh>
#include <weir/core/time.hh>

namespace weir::broker {

/// How long requests took, from their last byte until their answer is handed to the connection, by
/// API: as many series as the table of these has rows. What a client takes to read is not in it;
/// that a fetch waits for records is.
/// thread   one shard
class request_times {
  public:
    /// An API that is not in the table is passed over.
    void record(protocol::api_key key, duration took) noexcept;
    void register_metrics(std::vector<metrics::registration>& into) const;
    /// returns  null for an API that is not in the table
    const histogram* of(protocol::api_key key) const noexcept;

  private:
    std::array<histogram, std::size(protocol::apis)> _by_api;
};

}  // namespace weir::broker
