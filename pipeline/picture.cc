// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/picture.hh>

#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include <weir/core/topology.hh>

namespace weir::pipeline {

namespace {

/// Why `at` begins no character of UTF-8, or how long the one is that it begins.
std::size_t character_bytes(std::string_view text, std::size_t at) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at);
    const std::size_t length = first < 0x80                    ? 1
                               : first >= 0xc2 && first < 0xe0 ? 2
                               : first >= 0xe0 && first < 0xf0 ? 3
                               : first >= 0xf0 && first < 0xf5 ? 4
                                                               : 0;
    if (length == 0 || at + length > text.size()) {
        return 0;
    }
    std::uint32_t code = length == 1 ? first : first & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(at + i) & 0xc0U) != 0x80) {
            return 0;
        }
        code = code << 6U | (byte(at + i) & 0x3fU);
    }
    // No longer form than needed, no surrogates, and nothing that XML has no place for.
    const bool bad = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000) ||
                     code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code == 0xfffe ||
                     code == 0xffff;
    return bad ? 0 : length;
}

double seconds(duration time) {
    return std::chrono::duration<double>(time).count();
}

double fill(const moment& now, const drawn_edge& edge) {
    return static_cast<double>(queued(now, edge)) / static_cast<double>(edge.capacity);
}

const reader_sample* reader_of(const moment& now, const drawn_edge& edge) {
    const auto& readers = now.stages[edge.to].readers;
    const auto found = std::ranges::find(readers, edge.from, &reader_sample::writer);
    return found == readers.end() ? nullptr : &*found;
}

}  // namespace

std::size_t queued(const moment& now, const drawn_edge& edge) {
    const reader_sample* const found = reader_of(now, edge);
    return found == nullptr ? 0 : found->queued;
}

std::uint64_t taken(const moment& now, const drawn_edge& edge) {
    const reader_sample* const found = reader_of(now, edge);
    return found == nullptr ? 0 : found->taken;
}

std::vector<stage_figures> figures_of(const picture& drawn, const moment& now) {
    std::vector<stage_figures> all;
    for (std::size_t i = 0; i < now.stages.size(); ++i) {
        const stage_sample& each = now.stages[i];
        const stage_counters& counted = each.counted;
        const auto waits = static_cast<double>(each.waits.now);
        const auto most = static_cast<double>(std::max<std::size_t>(each.waits.most, 1));
        stage_figures made;
        if (now.at > duration(0)) {
            made.rate = static_cast<double>(counted.elements) / seconds(now.at);
        }
        if (drawn.stages[i].kind != stage_plan::form::async) {
            const std::uint64_t sampled = std::max<std::uint64_t>(counted.sampled_elements, 1);
            made.service = counted.service / static_cast<duration::rep>(sampled);
            made.load = made.rate * seconds(made.service);
        } else if (made.rate > 0) {
            // How long a future is under way, after Little.
            made.service = duration(static_cast<duration::rep>(1e9 * waits / made.rate));
        }
        made.load = std::min(1.0, std::max(made.load, waits / most));
        all.push_back(made);
    }
    return all;
}

// The script has the same rule for what happened between two moments.
std::size_t bottleneck(const picture& drawn, const moment& now) {
    const std::vector<stage_figures> figures = figures_of(drawn, now);
    std::vector<double> before(drawn.stages.size());
    std::vector<double> behind(drawn.stages.size());
    for (const drawn_edge& edge : drawn.edges) {
        const double full = fill(now, edge);
        before[edge.to] = std::max(before[edge.to], full);
        behind[edge.from] = std::max(behind[edge.from], full);
    }
    std::size_t found = drawn.stages.size();
    // A stage that does less holds nobody up: what waits for it may wait for others on its cpu.
    constexpr double least_load = 0.1;
    double most = 0.3;
    for (std::size_t i = 0; i < drawn.stages.size(); ++i) {
        const double load = figures[i].load;
        const double score = load + std::max(0.0, before[i] - behind[i]) / 2;
        if (!now.stages[i].over && load >= least_load && score > most) {
            most = score;
            found = i;
        }
    }
    return found;
}

const char* name_of(stage_plan::form kind) {
    switch (kind) {
        case stage_plan::form::source:
            return "source";
        case stage_plan::form::work:
            return "work";
        case stage_plan::form::async:
            return "async";
        case stage_plan::form::sink:
            return "sink";
        case stage_plan::form::whole:
            return "whole";
    }
    __builtin_unreachable();
}

std::string place_of(const drawn_stage& stage) {
    return stage.cpu ? fmt::format("shard {}, cpu {}", stage.shard, *stage.cpu)
                     : fmt::format("shard {}", stage.shard);
}

std::string places_of(const picture& drawn) {
    std::string out = fmt::format("{} shard{}", drawn.shards, drawn.shards == 1 ? "" : "s");
    std::vector<unsigned> cpus;
    for (const drawn_stage& each : drawn.stages) {
        if (each.cpu && std::ranges::find(cpus, *each.cpu) == cpus.end()) {
            cpus.push_back(*each.cpu);
        }
    }
    if (!cpus.empty()) {
        out += cpus.size() == 1 ? ", cpu " : ", cpus ";
        out += to_cpu_list(std::move(cpus));
    }
    return out;
}

shard_colour colour_of(shard_id shard) {
    // No orange and no red.
    static constexpr shard_colour colours[] = {{"#1c7ed6", "#4dabf7"}, {"#2b8a3e", "#69db7c"},
                                               {"#9c36b5", "#da77f2"}, {"#0c8599", "#3bc9db"},
                                               {"#6b7204", "#c0ca33"}, {"#c2255c", "#f783ac"},
                                               {"#4263eb", "#91a7ff"}, {"#846358", "#c8a99b"}};
    return colours[shard % std::size(colours)];
}

std::string readable(std::string_view text, std::size_t most) {
    std::string out;
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); ++count) {
        if (count == most) {
            return out + "…";
        }
        const std::size_t length = character_bytes(text, at);
        const auto first = static_cast<unsigned char>(text[at]);
        if (length == 0) {
            out += "\xef\xbf\xbd";  // U+FFFD
        } else if (first < 0x20 || first == 0x7f) {
            out += "␣";
        } else {
            out += text.substr(at, length);
        }
        at += std::max<std::size_t>(length, 1);
    }
    return out;
}

std::string json_quoted(std::string_view text) {
    std::string out = "\"";
    for (const char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if (byte < 0x20 || each == '"' || each == '\\' || each == '<' || each == '>' ||
            each == '&') {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(byte));
        } else {
            out += each;
        }
    }
    return out + '"';
}

std::string xml_quoted(std::string_view text) {
    std::string out;
    for (const char each : text) {
        if (each == '<' || each == '>' || each == '&' || each == '"') {
            fmt::format_to(std::back_inserter(out), "&#{};", static_cast<int>(each));
        } else {
            out += each;
        }
    }
    return out;
}

std::string short_number(double value) {
    static constexpr const char* units[] = {"", " k", " M", " G", " T"};
    std::size_t unit = 0;
    if (value >= 9999.5) {
        while (value >= 999.5 && unit + 1 < std::size(units)) {
            value /= 1000;
            ++unit;
        }
    }
    const int digits = unit == 0       ? (value < 9.95 && value != std::floor(value) ? 1 : 0)
                       : value < 9.995 ? 2
                       : value < 99.95 ? 1
                                       : 0;
    return fmt::format("{:.{}f}{}", value, digits, units[unit]);
}

std::string short_time(duration time) {
    const auto ns = static_cast<double>(time.count());
    if (ns <= 0) {
        return "–";
    }
    const auto [value, unit] = ns < 999.5     ? std::pair(ns, "ns")
                               : ns < 999.5e3 ? std::pair(ns / 1e3, "µs")
                               : ns < 999.5e6 ? std::pair(ns / 1e6, "ms")
                                              : std::pair(ns / 1e9, "s");
    const bool whole = unit == std::string_view("ns") || value >= 99.95;
    return fmt::format("{:.{}f} {}", value, whole ? 0 : value < 9.995 ? 2 : 1, unit);
}

namespace detail {

void print_number(std::int64_t value, std::string& into) {
    fmt::format_to(std::back_inserter(into), "{}", value);
}
void print_number(std::uint64_t value, std::string& into) {
    fmt::format_to(std::back_inserter(into), "{}", value);
}
void print_number(double value, std::string& into) {
    fmt::format_to(std::back_inserter(into), "{:.6g}", value);
}
void print_text(std::string_view text, std::string& into) {
    constexpr std::size_t shown = 24;
    into += "“" + readable(text, shown) + "”";
}

}  // namespace detail

}  // namespace weir::pipeline
