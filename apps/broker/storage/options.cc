// SPDX-License-Identifier: Apache-2.0
#include <broker/storage/options.hh>

#include <limits>

#include <weir/core/error.hh>

namespace weir::broker {

void log_options::check() const {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw error("check log options", what, errc::malformed);
        }
    };
    require(segment_bytes >= 4096 && segment_bytes <= std::numeric_limits<std::int32_t>::max() / 2,
            "segment_bytes: 4 KiB to 1 GiB");
    require(zero_ahead_min_bytes >= 4096 && zero_ahead_min_bytes % 4096 == 0 &&
                zero_ahead_max_bytes % 4096 == 0 && zero_ahead_min_bytes <= zero_ahead_max_bytes,
            "zero_ahead_min_bytes, zero_ahead_max_bytes: multiples of 4 KiB, in order");
    require(max_batch_bytes >= 61 && max_batch_bytes <= max_commit_bytes,
            "max_batch_bytes: at least a header, at most max_commit_bytes");
    require(max_commit_bytes <= (std::size_t{256} << 20), "max_commit_bytes: at most 256 MiB");
    require(max_commit_bytes <= max_waiting_bytes, "max_waiting_bytes: at least max_commit_bytes");
    require(max_read_bytes >= 4096, "max_read_bytes: at least 4 KiB");
    require(index_interval_bytes > 0 && max_index_entries >= 2,
            "index_interval_bytes, max_index_entries: above 0 and 1");
}

}  // namespace weir::broker
