// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/faults.hh>

#include <numeric>

#include <fmt/format.h>

namespace weir::io::sim {

namespace {

struct description {
    const char* name;
    std::uint32_t swarm_limit;  // parts per million; 0: never drawn
    std::uint32_t base;         // in fault_plan::none()
};

constexpr std::array<description, fault_count> descriptions = {{
    {"read_error", 2'000, 0},
    {"write_error", 2'000, 0},
    {"sync_error", 5'000, 0},
    {"sync_lie", 0, 0},
    {"no_space", 2'000, 0},
    {"short_read", 50'000, 0},
    {"short_write", 50'000, 0},
    {"slow_disk", 20'000, 0},
    {"lost_write", 1'000'000, 500'000},
    {"torn_write", 1'000'000, 500'000},
    {"junk_sector", 200'000, 0},
    {"junk_anything", 0, 0},
    {"lost_entry", 1'000'000, 500'000},
    {"slow_segment", 20'000, 0},
    {"short_send", 100'000, 0},
    {"connection_loss", 2'000, 0},
    {"refused_connect", 20'000, 0},
    {"partition", 100'000, 0},
    {"one_way_partition", 100'000, 0},
    {"clog", 200'000, 0},
    {"power_cut", 100'000, 0},
    {"process_kill", 100'000, 0},
    {"pause", 200, 0},
    {"wall_clock_step", 20'000, 0},
    {"bit_rot", 0, 0},
    {"no_descriptor", 2'000, 0},
    {"no_memory", 1'000, 0},
    {"interrupted", 20'000, 0},
    {"short_multishot", 100'000, 0},
}};

}  // namespace

const char* to_string(fault which) noexcept {
    return descriptions[static_cast<std::size_t>(which)].name;
}

fault_plan fault_plan::none() {
    fault_plan plan;
    for (std::size_t i = 0; i < fault_count; ++i) {
        plan.parts_per_million[i] = descriptions[i].base;
    }
    return plan;
}

fault_plan fault_plan::swarm(std::uint64_t seed) {
    random_stream random(seed, 0x5a3c, nullptr);
    fault_plan plan;
    for (std::size_t i = 0; i < fault_count; ++i) {
        const std::uint32_t limit = descriptions[i].swarm_limit;
        // Drawn for all, so that one more fault at the end of the list changes no other.
        const bool on = random.one_in(2);
        const std::uint64_t rate = random.below(std::uint64_t{limit} + 1);
        plan.parts_per_million[i] = on ? static_cast<std::uint32_t>(rate) : 0;
    }
    return plan;
}

std::uint64_t fault_injector::injected() const noexcept {
    return std::accumulate(_counts.begin(), _counts.end(), std::uint64_t{0});
}

std::vector<fault> fault_injector::never_struck() const {
    std::vector<fault> result;
    for (std::size_t i = 0; i < fault_count; ++i) {
        if (_plan.parts_per_million[i] != 0 && _counts[i] == 0) {
            result.push_back(static_cast<fault>(i));
        }
    }
    return result;
}

std::string fault_injector::report() const {
    std::string text;
    for (std::size_t i = 0; i < fault_count; ++i) {
        if (_counts[i] != 0) {
            text += fmt::format("  {} {}\n", descriptions[i].name, _counts[i]);
        }
    }
    return text;
}

void fault_injector::add(const fault_injector& other) noexcept {
    for (std::size_t i = 0; i < fault_count; ++i) {
        _counts[i] += other._counts[i];
    }
}

}  // namespace weir::io::sim
