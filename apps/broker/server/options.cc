// SPDX-License-Identifier: Apache-2.0
#include <broker/server/options.hh>

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include <weir/core/error.hh>

namespace weir::broker {

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;

// What a broker takes beside its budgets: the program, stacks, rings, buffers of the kernel's,
// indexes.
constexpr std::size_t rest_bytes = 24 * mib;

// What the process takes beside: rings, bells, listeners, the admin page and its clients.
constexpr std::uint64_t rest_descriptors = 64;

// What a connection takes that has nothing under way: 5 to 7 KiB were measured.
constexpr std::size_t connection_bytes = std::size_t{8} << 10;

// What an element of a request may take, times the connections that may have one decoded at once.
constexpr std::size_t element_bytes = std::size_t{8} << 10;

// What a partition takes that rests: 3 KiB were measured. All may have a quarter of the memory.
constexpr std::size_t partition_bytes = std::size_t{4} << 10;

// What one takes that is open to append to: an index of twice as many entries as at rest, of an
// offset and a time each, and two pages.
std::size_t open_log_bytes(const log_options& of) {
    constexpr std::size_t entry_bytes = 24;
    return 2 * of.max_index_entries * entry_bytes + (std::size_t{8} << 10);
}

/// The part of a shard's memory, within what the smallest and the largest broker need.
std::size_t part_of(std::size_t memory, std::size_t divisor, std::size_t least, std::size_t most) {
    return std::clamp(memory / divisor, least, most) / mib * mib;
}

/// A number that stays at the largest instead of beginning at 0 again.
struct bounded {
    std::uint64_t value;

    friend bounded operator+(bounded one, bounded other) noexcept {
        bounded sum{0};
        return __builtin_add_overflow(one.value, other.value, &sum.value) ? largest() : sum;
    }
    friend bounded operator*(bounded one, bounded other) noexcept {
        bounded product{0};
        return __builtin_mul_overflow(one.value, other.value, &product.value) ? largest() : product;
    }
    static bounded largest() noexcept { return {std::numeric_limits<std::uint64_t>::max()}; }
};

bool is_wildcard(const std::string& host) {
    return host.find_first_not_of("0.:[]") == std::string::npos || host == "::ffff:0.0.0.0";
}

}  // namespace

void broker_options::fit_to_memory(std::uint64_t memory, unsigned shards) {
    const std::size_t usable = memory > 2 * rest_bytes ? memory - rest_bytes : memory / 2;
    const std::size_t each = usable / std::max(shards, 1U);
    request_bytes = part_of(each, 6, 4 * mib, request_bytes);
    large_request_bytes = std::min(large_request_bytes, request_bytes / 2);
    frames.frame_bytes_max = std::min(frames.frame_bytes_max, large_request_bytes);
    answer_bytes = part_of(each, 6, 2 * mib, answer_bytes);
    answer_bytes_each = std::min(answer_bytes_each, std::max(answer_bytes / 4, 2 * mib));
    server.connections_max =
        std::clamp<std::size_t>(each / 8 / connection_bytes, 64, server.connections_max);
    partitions_max = static_cast<std::int32_t>(
        std::min(usable / 4 / partition_bytes, static_cast<std::size_t>(partitions_max)));
    elements_max = std::clamp<std::size_t>(each / element_bytes, 1'000, elements_max);
    look_ups_at_once = std::clamp<std::size_t>(each / (16 * mib), 1, look_ups_at_once);
    openings_at_once = std::clamp<std::size_t>(each / (16 * mib), 1, openings_at_once);
    opened_bytes_max = part_of(each, 5 * openings_at_once, 4 * mib, opened_bytes_max);
    storage.recent_bytes = part_of(each, 24, mib, storage.recent_bytes);
    storage.read_ahead_bytes = part_of(each, 24, mib, storage.read_ahead_bytes);
    storage.index_bytes = std::clamp<std::size_t>(each / 64, mib / 4, storage.index_bytes);
    storage.log.max_index_entries =
        std::clamp<std::size_t>(each / (64 << 10), 256, storage.log.max_index_entries);
    storage.open_logs_max =
        std::clamp<std::size_t>(each / 8 / open_log_bytes(storage.log), 64, storage.open_logs_max);
    storage.recoveries_at_once =
        std::clamp<std::size_t>(each / (16 * mib), 1, storage.recoveries_at_once);
}

// Half of them are for connections, a quarter for logs open to append to, or three eighths with
// tail copies, a sixteenth for files that are read; the rest is for what is open for a moment:
// rolls, recoveries, files that come into being.
void broker_options::fit_to_descriptors(std::uint64_t limit, unsigned shards) {
    const std::uint64_t each =
        (limit - std::min(limit / 4, rest_descriptors)) / std::max(shards, 1U);
    const auto part = [each](std::uint64_t divisor, std::size_t most) {
        return static_cast<std::size_t>(std::clamp<std::uint64_t>(each / divisor, 4, most));
    };
    server.connections_max = part(2, server.connections_max);
    storage.open_logs_max = part(8, storage.open_logs_max);
    storage.read_files_max = part(16, storage.read_files_max);
}

std::uint64_t broker_options::descriptors_needed(unsigned shards) const noexcept {
    const bounded each = bounded{server.connections_max} + bounded{storage.read_files_max} +
                         bounded{storage.open_logs_max} * bounded{storage.log.descriptors()};
    return (each * bounded{shards}).value;
}

void broker_options::check_descriptors(std::uint64_t limit, unsigned shards) const {
    if (descriptors_needed(shards) <= limit - std::min(limit / 4, rest_descriptors)) {
        return;
    }
    throw error("start",
                fmt::format("broker ({} shards may take {} descriptors: each {} of "
                            "connections-max, {} times (open-logs-max) {} and {} of "
                            "read-files-max; the limit of the process is {}, of which a few are "
                            "for the rest)",
                            shards, descriptors_needed(shards), server.connections_max,
                            storage.open_logs_max, storage.log.descriptors(),
                            storage.read_files_max, limit),
                errc::limit_exceeded);
}

std::uint64_t broker_options::memory_needed(unsigned shards) const noexcept {
    // Buffers of answers may be twice as large as the records in them; of a batch all that it opens
    // to may be in memory, as the codec's window or as one block. A look-up reads a batch.
    bounded each = bounded{request_bytes} + bounded{2} * bounded{answer_bytes} +
                   bounded{openings_at_once} * bounded{opened_bytes_max} +
                   bounded{look_ups_at_once} * bounded{storage.log.max_batch_bytes} +
                   bounded{server.connections_max} * bounded{connection_bytes} +
                   bounded{storage.recent_bytes} + bounded{storage.read_ahead_bytes} +
                   bounded{storage.index_bytes};
    return (bounded{rest_bytes} + each * bounded{shards}).value;
}

void broker_options::check_memory(std::uint64_t memory, unsigned shards) const {
    if (memory_needed(shards) <= memory) {
        return;
    }
    throw error(
        "start",
        fmt::format("broker ({} shards may take {} MiB: each {} MiB of request-bytes, twice "
                    "{} MiB of answer-bytes, {} times (openings-at-once) {} MiB of "
                    "opened-bytes-max, {} times (look-ups-at-once) {} MiB of max-batch-bytes, "
                    "{} times (connections-max) {} KiB, "
                    "{} MiB of recent-bytes, {} MiB of read-ahead-bytes and {} KiB of "
                    "index-bytes; "
                    "there are {} MiB)",
                    shards, memory_needed(shards) / mib, request_bytes / mib, answer_bytes / mib,
                    openings_at_once, opened_bytes_max / mib, look_ups_at_once,
                    storage.log.max_batch_bytes / mib, server.connections_max,
                    connection_bytes >> 10, storage.recent_bytes / mib,
                    storage.read_ahead_bytes / mib, storage.index_bytes >> 10, memory / mib),
        errc::limit_exceeded);
}

void broker_options::check() const {
    const auto refuse = [](const char* what) {
        throw error("start", std::string("broker (") + what + ')', errc::malformed);
    };
    if (large_request_bytes < frames.frame_bytes_max) {
        refuse("large-request-bytes is less than one frame, frame-bytes-max");
    }
    if (request_bytes < mib || request_bytes - mib < large_request_bytes) {
        refuse("request-bytes leaves less than 1 MiB beside large-request-bytes");
    }
    if (storage.log.max_batch_bytes > frames.frame_bytes_max) {
        refuse("max-batch-bytes is more than one frame, frame-bytes-max");
    }
    if (partitions_max < 1 || partitions_max > listed_partitions_max) {
        refuse("partitions-max is not between 1 and what a data directory may list");
    }
    if (default_partitions < 1 || default_partitions > partitions_max) {
        refuse("partitions of a topic are none, or more than partitions-max");
    }
}

std::uint64_t broker_options::waiting_bytes(unsigned shards) const noexcept {
    return std::max<std::uint64_t>(storage.log.max_waiting_bytes,
                                   (bounded{request_bytes} * bounded{shards}).value);
}

void broker_options::check_addresses() const {
    const bool told = !advertised_host.empty();
    if (is_wildcard(told ? advertised_host : listen.host())) {
        throw error("start",
                    fmt::format("broker ({} is every address of this machine, which no client can "
                                "connect to: say --advertise HOST or HOST:PORT)",
                                told ? advertised_host : listen.host()),
                    errc::malformed);
    }
}

}  // namespace weir::broker
