// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <iterator>
#include <map>

#include <fmt/format.h>

#include <weir/core/error.hh>
#include <weir/core/metrics.hh>

namespace weir {

namespace {

// Histogram buckets leave at fixed edges, or else a rate over time would mix different ones: 2^k
// for k in this range, which for nanoseconds is 1 us to 17 s and for sizes 1 KiB to 16 GiB. Values
// below the first edge are in its bucket.
constexpr unsigned first_edge = 10;
constexpr unsigned last_edge = 34;
// A histogram of plain counts (batch sizes, depths) starts at one.
constexpr unsigned first_count_edge = 0;
constexpr unsigned last_count_edge = 20;

// A family of one snapshot, and which shard it came from.
struct source {
    const metric_family* family;
    std::optional<unsigned> shard;
};

using by_name = std::map<std::string_view, std::vector<source>>;

by_name gather(std::span<const metrics_snapshot> snapshots) {
    by_name result;
    for (const metrics_snapshot& snapshot : snapshots) {
        for (const metric_family& family : snapshot.families) {
            std::vector<source>& sources = result[family.name];
            if (!sources.empty() && (sources.front().family->kind != family.kind ||
                                     sources.front().family->scale != family.scale)) {
                throw error("merge metrics", family.name + " (kinds or scales differ)",
                            errc::duplicate);
            }
            sources.push_back({&family, snapshot.shard});
        }
    }
    return result;
}

void append_escaped(std::string& out, std::string_view text, bool quotes) {
    for (const char c : text) {
        if (c == '\\') {
            out += "\\\\";
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '"' && quotes) {
            out += "\\\"";
        } else {
            out += c;
        }
    }
}

void append_number(std::string& out, double value) {
    if (std::isnan(value)) {
        out += "NaN";
    } else if (std::isinf(value)) {
        out += value > 0 ? "+Inf" : "-Inf";
    } else {
        fmt::format_to(std::back_inserter(out), "{}", value);
    }
}

std::string label_text(const metric_sample& sample, std::optional<unsigned> shard) {
    std::string out;
    if (shard) {
        out = fmt::format("shard=\"{}\"", *shard);
    }
    for (const metric_label& label : sample.labels) {
        out += (out.empty() ? "" : ",") + label.name + "=\"";
        append_escaped(out, label.value, true);
        out += '"';
    }
    return out;
}

void append_series(std::string& out, std::string_view name, std::string_view suffix,
                   std::string_view labels) {
    out += name;
    out += suffix;
    if (!labels.empty()) {
        fmt::format_to(std::back_inserter(out), "{{{}}}", labels);
    }
    out += ' ';
}

void append_total(std::string& out, std::uint64_t value, double scale) {
    if (scale == 1) {
        fmt::format_to(std::back_inserter(out), "{}\n", value);  // exact beyond 2^53
    } else {
        append_number(out, static_cast<double>(value) * scale);
        out += '\n';
    }
}

void append_histogram(std::string& out, const metric_family& family, const histogram_data& data,
                      const std::string& labels) {
    const bool counts = family.scale == 1 && !family.name.ends_with("_bytes");
    const unsigned last = counts ? last_count_edge : last_edge;
    const std::string prefix = labels.empty() ? "" : labels + ",";
    for (unsigned edge = counts ? first_count_edge : first_edge; edge <= last; ++edge) {
        // The greatest integer below 2^edge: the edge of a bucket, so the count is exact.
        const double bound = static_cast<double>((std::uint64_t{1} << edge) - 1) * family.scale;
        std::string with_bound = prefix + "le=\"";
        append_number(with_bound, bound);
        append_series(out, family.name, "_bucket", with_bound + "\"");
        append_total(out, data.count_below_power(edge), 1);
    }
    append_series(out, family.name, "_bucket", prefix + "le=\"+Inf\"");
    append_total(out, data.count, 1);
    append_series(out, family.name, "_sum", labels);
    append_total(out, data.sum, family.scale);
    append_series(out, family.name, "_count", labels);
    append_total(out, data.count, 1);
}

void append_sample(std::string& out, const metric_family& family, const metric_sample& sample,
                   std::optional<unsigned> shard) {
    const std::string labels = label_text(sample, shard);
    if (const auto* data = std::get_if<histogram_data>(&sample.value)) {
        append_histogram(out, family, *data, labels);
        return;
    }
    append_series(out, family.name, "", labels);
    if (const auto* number = std::get_if<std::uint64_t>(&sample.value)) {
        append_total(out, *number, family.scale);
    } else {
        append_number(out, std::get<double>(sample.value) * family.scale);
        out += '\n';
    }
}

const char* type_text(metric_kind kind) {
    switch (kind) {
        case metric_kind::counter:
            return "counter";
        case metric_kind::gauge:
            return "gauge";
        case metric_kind::histogram:
            return "histogram";
    }
    return "untyped";
}

double as_double(const metric_sample& sample) {
    const auto* number = std::get_if<std::uint64_t>(&sample.value);
    return number != nullptr ? static_cast<double>(*number) : std::get<double>(sample.value);
}

void add_to(metric_sample& total, const metric_sample& other) {
    auto* number = std::get_if<std::uint64_t>(&total.value);
    const auto* more = std::get_if<std::uint64_t>(&other.value);
    if (auto* data = std::get_if<histogram_data>(&total.value)) {
        data->merge(std::get<histogram_data>(other.value));
    } else if (number != nullptr && more != nullptr) {
        *number += *more;
    } else {
        total.value = as_double(total) + as_double(other);
    }
}

}  // namespace

metrics_snapshot sum_of(std::span<const metrics_snapshot> snapshots) {
    metrics_snapshot result;
    for (const auto& [name, sources] : gather(snapshots)) {
        const metric_family& first = *sources.front().family;
        metric_family total{first.name, first.help, first.kind, first.scale, {}};
        std::map<std::vector<metric_label>, metric_sample> samples;
        for (const source& each : sources) {
            for (const metric_sample& sample : each.family->samples) {
                const auto [place, is_new] = samples.try_emplace(sample.labels, sample);
                if (!is_new) {
                    add_to(place->second, sample);
                }
            }
        }
        for (auto& [labels, sample] : samples) {
            total.samples.push_back(std::move(sample));
        }
        result.families.push_back(std::move(total));
    }
    return result;
}

std::string prometheus_text(std::span<const metrics_snapshot> snapshots) {
    std::string out;
    for (const auto& [name, sources] : gather(snapshots)) {
        const metric_family& first = *sources.front().family;
        fmt::format_to(std::back_inserter(out), "# HELP {} ", name);
        append_escaped(out, first.help, false);
        fmt::format_to(std::back_inserter(out), "\n# TYPE {} {}\n", name, type_text(first.kind));
        for (const source& each : sources) {
            for (const metric_sample& sample : each.family->samples) {
                append_sample(out, *each.family, sample, each.shard);
            }
        }
    }
    return out;
}

}  // namespace weir
