// SPDX-License-Identifier: Apache-2.0
#include <broker/protocol/record_check.hh>

#include <algorithm>
#include <limits>

namespace weir::broker::protocol {

namespace {

/// Length, attributes, two deltas, key length, value length and header count, a byte each.
constexpr std::size_t smallest_record = 7;

record_check refused(error_code code, const char* reason) {
    return {.fault = {code, reason}};
}

}  // namespace

record_check check_records(const batch_view& batch, scan_limits limits, std::int64_t latest) {
    if (batch.codec() == codec::none &&
        static_cast<std::size_t>(batch.record_count()) > batch.records().size() / smallest_record) {
        return refused(error_code::invalid_record, "more records than the batch can hold");
    }
    record_check found;
    record_scan records(batch, limits);
    std::int32_t expected = 0;
    const std::int64_t oldest =
        std::numeric_limits<std::int64_t>::min() + std::max<std::int64_t>(latest, 0);
    while (const auto record = records.next()) {
        if (record->offset_delta != expected++) {
            return refused(error_code::invalid_record, "offsets of records don't follow");
        }
        if (record->timestamp > latest) {
            return refused(error_code::invalid_timestamp, "a record from too far ahead");
        }
        if (record->timestamp < oldest) {
            return refused(error_code::invalid_timestamp, "a record whose age is no number");
        }
        found.max_timestamp = std::max(found.max_timestamp, record->timestamp);
    }
    switch (records.stopped()) {
        case record_scan::stop::end:
            break;
        case record_scan::stop::damaged:
            return refused(error_code::invalid_record, "records that can't be read");
        case record_scan::stop::time:
            return refused(error_code::invalid_timestamp, "a timestamp that is none");
        case record_scan::stop::limit:
            found.unfinished = true;
    }
    return found;
}

}  // namespace weir::broker::protocol
