// SPDX-License-Identifier: Apache-2.0
#include <sim/broker_oracle.hh>

#include <algorithm>

#include <broker/protocol/record.hh>
#include <broker/storage/names.hh>
#include <fmt/format.h>

#include <weir/io/sim/memory.hh>

namespace weir::broker::sim_test {

using io::sim::memory::outside;

namespace {

constexpr unsigned try_bits = 16;
constexpr unsigned producer_shift = 56;
constexpr std::uint64_t looked_for = 4;  // of so many acknowledgements, one on the device

std::string show(std::uint64_t value) {
    return fmt::format("{}/{}/{}", value >> producer_shift, (value << 8 >> 8) >> try_bits,
                       value & 0xffff);
}

}  // namespace

std::string describe(const statistics& counts) {
    return fmt::format(
        "  {} records acknowledged, {} read, {} audits, {} offsets by time, {} batches looked for "
        "on "
        "the device\n"
        "  {} batches sent again, {} refused, {} for a failed disk, broker started again {} times, "
        "{} starts failed, "
        "{} graceful stops\n",
        counts.acknowledged, counts.consumed, counts.audits, counts.look_ups,
        counts.durability_checks, counts.retried, counts.refused, counts.storage_errors,
        counts.broker_starts, counts.failed_starts, counts.graceful_stops);
}

statistics& statistics::operator+=(const statistics& other) noexcept {
    acknowledged += other.acknowledged;
    retried += other.retried;
    refused += other.refused;
    storage_errors += other.storage_errors;
    consumed += other.consumed;
    audits += other.audits;
    look_ups += other.look_ups;
    broker_starts += other.broker_starts;
    failed_starts += other.failed_starts;
    graceful_stops += other.graceful_stops;
    durability_checks += other.durability_checks;
    return *this;
}

oracle::oracle(io::sim::sim_host& broker, std::vector<std::string> directories)
    : _broker(broker), _directories(std::move(directories)), _logs(_directories.size()) {}

std::int64_t oracle::time_of(std::uint64_t value) noexcept {
    const std::uint64_t mixed = (value >> try_bits) * 0x9e37'79b9'7f4a'7c15;
    return static_cast<std::int64_t>((mixed >> 32) % (latest_time + 1));
}

std::uint64_t oracle::fresh_value(unsigned producer) {
    const outside world;
    _next.resize(std::max<std::size_t>(_next.size(), producer + 1));
    const std::uint64_t value = std::uint64_t{producer + 1} << producer_shift | ++_next[producer]
                                                                                    << try_bits;
    _sent.emplace(value, -1);
    return value;
}

std::uint64_t oracle::next_try(std::uint64_t value) {
    const outside world;
    _sent.emplace(value + 1, -1);
    return value + 1;
}

void oracle::place(int partition, std::int64_t offset, std::uint64_t value, const char* how) {
    const outside world;
    if (offset < 0) {
        violate(fmt::format("partition {}: offset {} was {}", partition, offset, how));
        return;
    }
    auto& log = _logs[index(partition)];
    if (log.values.size() <= static_cast<std::size_t>(offset)) {
        log.values.resize(static_cast<std::size_t>(offset) + 1);
    }
    std::uint64_t& known = log.values[static_cast<std::size_t>(offset)];
    if (known != 0 && known != value) {
        violate(fmt::format("partition {}: offset {} was {}, is {} {}", partition, offset,
                            show(known), how, show(value)));
    }
    known = value;
    // Where a value is includes its partition: none may be in two.
    const std::int64_t where = offset * partitions() + partition;
    const auto sent = _sent.find(value);
    if (sent == _sent.end()) {
        violate(fmt::format("partition {}: offset {} is {} {}, which nobody sent", partition,
                            offset, how, show(value)));
    } else if (sent->second != -1 && sent->second != where) {
        violate(fmt::format("partition {}: {} is {} at {}, and was at {} of partition {}",
                            partition, show(value), how, offset, sent->second / partitions(),
                            sent->second % partitions()));
    } else {
        sent->second = where;
    }
}

void oracle::acknowledged(int partition, std::int64_t base, std::span<const std::uint64_t> values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        place(partition, base + static_cast<std::int64_t>(i), values[i], "acknowledged as");
    }
    const outside world;
    partition_log& log = _logs[index(partition)];
    log.end = std::max(log.end, base + static_cast<std::int64_t>(values.size()));
    const std::uint64_t before = _counts.acknowledged;
    _counts.acknowledged += values.size();
    if (before / looked_for != _counts.acknowledged / looked_for) {
        check_durable(partition, base, values.front());
    }
}

void oracle::observed(int partition, std::int64_t offset, std::uint64_t value) {
    place(partition, offset, value, "read as");
    ++_counts.consumed;
}

void oracle::found(int partition, std::int64_t asked, std::int64_t offset, std::int64_t time,
                   std::int64_t end) {
    const auto& values = _logs[index(partition)].values;
    const auto before = static_cast<std::size_t>(offset < 0 ? end : offset);
    for (std::size_t i = 0; i < std::min(before, values.size()); ++i) {
        if (values[i] != 0 && time_of(values[i]) >= asked) {
            violate(fmt::format("partition {}: the first of time {} is at {}, not at {}", partition,
                                asked, i, offset));
            return;
        }
    }
    const std::uint64_t there = offset < 0 || before >= values.size() ? 0 : values[before];
    if (offset >= 0 && (time < asked || (there != 0 && time_of(there) != time))) {
        violate(fmt::format("partition {}: offset {} has time {}, says a look-up of {}", partition,
                            offset, time, asked));
    }
    ++_counts.look_ups;
}

/// Looks for an acknowledged batch in what a power cut at its worst would leave.
void oracle::check_durable(int partition, std::int64_t base, std::uint64_t first) {
    const std::string& directory = _directories[index(partition)];
    std::vector<std::string> names;
    _broker.disk().list(directory, names);
    std::int64_t newest = -1;
    for (const std::string& name : names) {
        if (const auto begin = segment_of_file(name, log_suffix); begin && *begin <= base) {
            newest = std::max(newest, *begin);
        }
    }
    const std::vector<std::byte> durable =
        newest < 0 ? std::vector<std::byte>()
                   : _broker.disk().durable_bytes(segment_path(directory, newest, log_suffix));
    ++_counts.durability_checks;
    protocol::batch_walk batches(durable);
    while (const auto batch = batches.next()) {
        if (batch->base_offset() != base) {
            continue;
        }
        protocol::record_walk records(*batch);
        const auto record = records.next();
        if (batch->crc_matches() && record && record->value &&
            protocol::load_big<std::uint64_t>(record->value->data()) == first) {
            return;
        }
        break;
    }
    violate(fmt::format("partition {}: {} is acknowledged at {} and not on the device", partition,
                        show(first), base));
}

void oracle::violate(const std::string& what) {
    const outside world;
    if (_violation.empty()) {
        _violation = what;
    }
}

}  // namespace weir::broker::sim_test
