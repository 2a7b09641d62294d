// SPDX-License-Identifier: Apache-2.0
// What needs no hwloc: questions to a topology, and lists of cpus.
#include <algorithm>
#include <charconv>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/core/topology.hh>

namespace weir {

namespace {

constexpr unsigned highest_cpu = 65'535;

bool holds(const std::vector<unsigned>& cpus, unsigned cpu) {
    return std::find(cpus.begin(), cpus.end(), cpu) != cpus.end();
}

[[noreturn]] void refuse_list(std::string_view text, errc cause) {
    throw error("parse cpu list", "\"" + std::string(text) + "\" (an example: \"0-3,8\")", cause);
}

// Takes a number off the front of `rest`.
unsigned take_number(std::string_view& rest, std::string_view text) {
    unsigned value = 0;
    const auto [end, failure] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (failure == std::errc::result_out_of_range ||
        (failure == std::errc{} && value > highest_cpu)) {
        refuse_list(text, errc::limit_exceeded);
    }
    if (failure != std::errc{}) {
        refuse_list(text, errc::malformed);
    }
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return value;
}

}  // namespace

std::string_view name_of(proximity value) noexcept {
    switch (value) {
        case proximity::same_cpu:
            return "same cpu";
        case proximity::smt_sibling:
            return "SMT sibling";
        case proximity::shared_cache:
            return "shared cache";
        case proximity::same_node:
            return "same node";
        case proximity::other_node:
            return "other node";
    }
    return "unknown";
}

std::vector<unsigned> topology::cpus() const {
    std::vector<unsigned> result;
    for (const core& each : cores) {
        result.insert(result.end(), each.cpus.begin(), each.cpus.end());
    }
    return result;
}

bool topology::contains(unsigned cpu) const {
    return std::any_of(cores.begin(), cores.end(),
                       [cpu](const core& each) { return holds(each.cpus, cpu); });
}

unsigned topology::core_of(unsigned cpu) const {
    const auto place = std::find_if(cores.begin(), cores.end(),
                                    [cpu](const core& each) { return holds(each.cpus, cpu); });
    WEIR_ASSERT(place != cores.end());
    return static_cast<unsigned>(place - cores.begin());
}

unsigned topology::shared_cache_level(unsigned a, unsigned b) const {
    unsigned level = 0;
    for (const cache& each : caches) {
        if ((level == 0 || each.level < level) && holds(each.cpus, a) && holds(each.cpus, b)) {
            level = each.level;
        }
    }
    return level;
}

proximity topology::between(unsigned a, unsigned b) const {
    if (a == b) {
        return proximity::same_cpu;
    }
    const unsigned core_a = core_of(a);
    const unsigned core_b = core_of(b);
    if (core_a == core_b) {
        return proximity::smt_sibling;
    }
    if (shared_cache_level(a, b) != 0) {
        return proximity::shared_cache;
    }
    return cores[core_a].node == cores[core_b].node ? proximity::same_node : proximity::other_node;
}

std::vector<unsigned> parse_cpu_list(std::string_view text) {
    std::vector<unsigned> result;
    std::string_view rest = text;
    for (bool more = true; more;) {
        const unsigned first = take_number(rest, text);
        unsigned last = first;
        if (rest.starts_with('-')) {
            rest.remove_prefix(1);
            last = take_number(rest, text);
        }
        if (last < first) {
            refuse_list(text, errc::malformed);
        }
        for (unsigned cpu = first; cpu <= last; ++cpu) {
            result.push_back(cpu);
        }
        if (result.size() > 4 * (std::size_t{highest_cpu} + 1)) {  // "0-65535,0-65535,..."
            refuse_list(text, errc::limit_exceeded);
        }
        more = rest.starts_with(',');
        if (more) {
            rest.remove_prefix(1);
        }
    }
    if (!rest.empty()) {
        refuse_list(text, errc::malformed);
    }
    std::sort(result.begin(), result.end());
    result.erase(std::unique(result.begin(), result.end()), result.end());
    return result;
}

std::string to_cpu_list(std::vector<unsigned> cpus) {
    std::sort(cpus.begin(), cpus.end());
    cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
    std::string out;
    for (std::size_t i = 0; i < cpus.size();) {
        std::size_t last = i;
        while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) {
            ++last;
        }
        out += (out.empty() ? "" : ",") + std::to_string(cpus[i]);
        if (last > i) {
            out += "-" + std::to_string(cpus[last]);
        }
        i = last + 1;
    }
    return out.empty() ? "-" : out;
}

}  // namespace weir
