// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <broker/protocol/batch.hh>
#include <broker/protocol/record_scan.hh>

namespace weir::broker::protocol {

/// What came of looking at the records of a produced batch.
struct record_check {
    batch_fault fault;
    bool unfinished = false;  ///< the limits were reached first: nothing is known yet
    std::int64_t max_timestamp = -1;
};

/// Looks at every record of a batch, opening it if it is compressed: there are as many as it
/// counts, their offsets follow one another, their bytes are what they say, none is younger than
/// `latest`, or so old that its age is no 64-bit number.
/// batch    one that check_produced() let pass
/// fails    throws std::bad_alloc
/// cost     opens the batch, up to the limits
/// source   Kafka LogValidator
record_check check_records(const batch_view& batch, scan_limits limits, std::int64_t latest);

}  // namespace weir::broker::protocol
