// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstdint>
#include <vector>

#include <broker/protocol/record.hh>
#include <broker/protocol/record_check.hh>

#include <weir/core/assert.hh>

namespace {

using namespace weir::broker::protocol;

/// Makes length and checksum true, so that the fuzzer gets behind them.
void repair(std::vector<std::byte>& bytes) {
    if (bytes.size() >= batch_view::header_size) {
        store_big(bytes.data() + 8,
                  static_cast<std::int32_t>(bytes.size() - batch_view::length_overhead));
        bytes[16] = std::byte{2};
        store_big(bytes.data() + 17, crc32c(byte_view(bytes).subspan(21)));
    }
}

void check(byte_view bytes) {
    batch_walk walk(bytes);
    std::size_t walked = 0;
    while (const auto batch = walk.next()) {
        walked += batch->bytes().size();
        (void)batch->next_offset();
    }
    WEIR_ASSERT(walked + walk.rest().size() == bytes.size());
    WEIR_ASSERT((walk.stopped() == batch_walk::stop::end) == walk.rest().empty());
    WEIR_ASSERT(walk.stopped() != batch_walk::stop::partial || walk.wanted() > walk.rest().size());
    if (check_produced(bytes, 7).ok()) {
        const batch_view batch(bytes);
        WEIR_ASSERT(batch.next_offset() - batch.base_offset() == batch.record_count());
        const record_check found = check_records(batch, {1 << 20, 1 << 16}, INT64_MAX);
        if (batch.codec() == codec::none && !found.unfinished) {
            // Two who read records agree on what can be read.
            record_walk records(batch);
            std::int32_t count = 0;
            while (records.next()) {
                ++count;
            }
            WEIR_ASSERT(!found.fault.ok() || (!records.failed() && count == batch.record_count()));
        }
    }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name is libFuzzer's
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const byte_view input(reinterpret_cast<const std::byte*>(data), size);
    check(input);
    std::vector<std::byte> repaired(input.begin(), input.end());
    repair(repaired);
    check(repaired);
    return 0;
}
