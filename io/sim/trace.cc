// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/trace.hh>

#include <array>
#include <cstring>

#include <fmt/format.h>

#include <weir/io/sim/memory.hh>

namespace weir::io::sim {

namespace {

std::uint64_t mix(std::uint64_t hash, std::uint64_t value) noexcept {
    const auto product = static_cast<unsigned __int128>(hash ^ value) * 0x9e3779b97f4a7c15;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64) ^
           (hash << 23 | hash >> 41);
}

constexpr std::array<const char*, 17> kind_names = {
    "draw",    "turn",        "wake",    "start",      "complete",   "cancel",
    "segment", "acknowledge", "reset",   "connection", "file_write", "file_sync",
    "crash",   "fault",       "host_up", "host_down",  "note"};

}  // namespace

void trace::event(instant when, std::uint32_t host, std::uint32_t shard, event_kind kind,
                  std::uint64_t payload) {
    const std::int64_t when_ns = when.time_since_epoch().count();
    const std::uint64_t place =
        std::uint64_t{host} << 40 | std::uint64_t{shard} << 8 | static_cast<std::uint64_t>(kind);
    _hash = mix(mix(mix(_hash, static_cast<std::uint64_t>(when_ns)), place), payload);
    if (_events >= _record_first && _events < _record_last) {
        const memory::outside guard;  // draws happen in the middle of a host's turn
        _records.push_back({_events, when_ns, host, shard, kind, payload});
    }
    _when = when;
    if (++_events % events_per_checkpoint == 0) {
        const memory::outside guard;
        _checkpoints.push_back(_hash);
    }
}

std::string to_string(const trace_record& record) {
    return fmt::format("#{} t={}ns host={} shard={} {} {:#x}", record.index, record.when_ns,
                       record.host, record.shard, kind_names[static_cast<unsigned>(record.kind)],
                       record.payload);
}

std::uint64_t hash_bytes(const void* data, std::size_t length, std::uint64_t start) noexcept {
    const auto* bytes = static_cast<const unsigned char*>(data);
    std::uint64_t hash = start ^ (length * 0xff51afd7ed558ccd);
    while (length >= 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes, 8);
        hash = mix(hash, word);
        bytes += 8;
        length -= 8;
    }
    std::uint64_t rest = 0;
    for (std::size_t i = 0; i < length; ++i) {
        rest |= std::uint64_t{bytes[i]} << (8 * i);
    }
    return mix(hash, rest);
}

}  // namespace weir::io::sim
