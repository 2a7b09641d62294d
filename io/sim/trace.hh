// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <weir/core/time.hh>

namespace weir::io::sim {

/// What can happen in a simulated world; the trace hashes the number.
enum class event_kind : std::uint8_t {
    draw,
    turn,
    wake,
    start,
    complete,
    cancel,
    segment,
    acknowledge,
    reset,
    connection,
    file_write,
    file_sync,
    crash,
    fault,
    host_up,
    host_down,
    note,
};

/// One line of a recorded trace.
struct trace_record {
    std::uint64_t index;
    std::int64_t when_ns;
    std::uint32_t host;
    std::uint32_t shard;
    event_kind kind;
    std::uint64_t payload;
    friend bool operator==(const trace_record&, const trace_record&) = default;
};

std::string to_string(const trace_record&);

/// The identity of a run: a rolling 64-bit hash over every event and every random draw. Two runs
/// of one seed are the same run if and only if their hashes agree.
class trace {
  public:
    static constexpr std::uint64_t events_per_checkpoint = 1024;

    void event(instant when, std::uint32_t host, std::uint32_t shard, event_kind kind,
               std::uint64_t payload);
    /// A random number was drawn; counts as an event of the moment of the last one.
    void draw(std::uint64_t value) { event(_when, 0, 0, event_kind::draw, value); }

    std::uint64_t hash() const noexcept { return _hash; }
    std::uint64_t events() const noexcept { return _events; }
    /// The hash after each events_per_checkpoint events, to find where two runs part.
    const std::vector<std::uint64_t>& checkpoints() const noexcept { return _checkpoints; }

    /// Keeps the events [first, last) as records.
    void record(std::uint64_t first, std::uint64_t last) noexcept {
        _record_first = first;
        _record_last = last;
    }
    const std::vector<trace_record>& records() const noexcept { return _records; }

  private:
    std::uint64_t _hash = 0x9e3779b97f4a7c15;
    std::uint64_t _events = 0;
    instant _when{};
    std::vector<std::uint64_t> _checkpoints;
    std::uint64_t _record_first = 0;
    std::uint64_t _record_last = 0;
    std::vector<trace_record> _records;
};

/// A hash of bytes that does not depend on where they lie.
std::uint64_t hash_bytes(const void* data, std::size_t length, std::uint64_t start = 0) noexcept;

}  // namespace weir::io::sim
