// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include <fmt/format.h>

#include <weir/pipeline/picture.hh>

// The graph for graphviz and for programs.
namespace weir::pipeline {

namespace {

std::string dot_quoted(std::string_view text) {
    std::string out = "\"";
    for (const char each : text) {
        out += each == '"' || each == '\\' ? "\\" : "";
        out += each;
    }
    return out + '"';
}

// Lines in one label: "\n" is for dot to read.
std::string dot_lines(const std::vector<std::string>& lines) {
    std::string out;
    for (const std::string& each : lines) {
        const std::string quoted = dot_quoted(each);
        out += (out.empty() ? "" : "\\n") + quoted.substr(1, quoted.size() - 2);
    }
    return '"' + out + '"';
}

void append_dot(std::string& out, const picture& drawn, const moment& now,
                const std::string& prefix) {
    const std::vector<stage_figures> figures = figures_of(drawn, now);
    const std::size_t busiest = bottleneck(drawn, now);
    auto into = std::back_inserter(out);
    for (std::size_t i = 0; i < drawn.stages.size(); ++i) {
        const drawn_stage& stage = drawn.stages[i];
        const stage_sample& sample = now.stages[i];
        std::vector<std::string> lines{fmt::format("{} ({})", stage.name, place_of(stage)),
                                       fmt::format("cursor {}", sample.cursor),
                                       fmt::format("{}/s, {} each", short_number(figures[i].rate),
                                                   short_time(figures[i].service))};
        if (sample.waits.most > 1) {
            lines.push_back(fmt::format("{} of {} under way", sample.waits.now, sample.waits.most));
        }
        if (sample.over) {
            lines.emplace_back("ended");
        }
        const bool end =
            stage.kind == stage_plan::form::source || stage.kind == stage_plan::form::sink;
        fmt::format_to(into, "    {}{} [label={}, shape={}, fillcolor=\"{}33\"{}];\n", prefix, i,
                       dot_lines(lines), end ? "oval" : "box", colour_of(stage.shard).on_light,
                       i == busiest ? ", color=\"#d9480f\", penwidth=3" : "");
    }
    for (const drawn_edge& edge : drawn.edges) {
        fmt::format_to(into, "    {0}{1} -> {0}{2} [label=\"{3} / {4}\"{5}];\n", prefix, edge.from,
                       edge.to, queued(now, edge), edge.capacity,
                       edge.fed_back ? ", style=dashed, constraint=false" : "");
    }
}

void append_stage(std::string& out, unsigned id, const drawn_stage& stage,
                  const stage_sample& sample) {
    const stage_counters& counted = sample.counted;
    fmt::format_to(std::back_inserter(out),
                   "{{\"id\":{},\"name\":{},\"kind\":\"{}\",\"shard\":{},\"cpu\":{},\"copy\":{},"
                   "\"capacity\":{},\"x\":{:.1f},\"y\":{:.1f},\"elements\":{},\"batches\":{},"
                   "\"runs\":{},\"starved\":{},\"blocked\":{},\"service_ns\":{},"
                   "\"sampled_elements\":{},\"cursor\":{},\"queued\":{},\"waits\":{},"
                   "\"window\":{},\"over\":{},\"newest\":{}}}",
                   id, json_quoted(stage.name), name_of(stage.kind), stage.shard,
                   stage.cpu ? std::to_string(*stage.cpu) : "null", stage.copy, stage.capacity,
                   stage.at.x, stage.at.y, counted.elements, counted.batches, counted.runs,
                   counted.starved, counted.blocked, counted.service.count(),
                   counted.sampled_elements, sample.cursor, sample.queued, sample.waits.now,
                   sample.waits.most, sample.over, json_quoted(sample.newest));
}

}  // namespace

std::string to_dot(const std::vector<std::pair<const picture*, const moment*>>& all) {
    std::string out =
        "digraph pipelines {\n  rankdir=LR;\n"
        "  node [style=filled, fontname=\"Helvetica\", fontsize=11];\n"
        "  edge [fontname=\"Helvetica\", fontsize=10];\n";
    for (std::size_t i = 0; i < all.size(); ++i) {
        fmt::format_to(std::back_inserter(out), "  subgraph cluster_{} {{\n    label={};\n", i,
                       dot_quoted(all[i].first->title));
        append_dot(out, *all[i].first, *all[i].second, fmt::format("p{}_", i));
        out += "  }\n";
    }
    return out + "}\n";
}

std::string to_dot(const picture& drawn, const moment& now) {
    return to_dot({{&drawn, &now}});
}

std::string to_json(const picture& drawn, const moment& now) {
    std::string out = fmt::format(
        "{{\"title\":{},\"time\":{},\"shards\":{},\"width\":{:.1f},\"height\":{:.1f},\"stages\":[",
        json_quoted(drawn.title), std::chrono::duration<double>(now.at).count(), drawn.shards,
        drawn.width, drawn.height);
    for (unsigned i = 0; i < drawn.stages.size(); ++i) {
        out += i == 0 ? "" : ",";
        append_stage(out, i, drawn.stages[i], now.stages[i]);
    }
    out += "],\"edges\":[";
    for (const drawn_edge& edge : drawn.edges) {
        fmt::format_to(std::back_inserter(out),
                       "{}{{\"from\":{},\"to\":{},\"fed_back\":{},\"taken\":{},\"queued\":{},"
                       "\"capacity\":{}}}",
                       &edge == drawn.edges.data() ? "" : ",", edge.from, edge.to, edge.fed_back,
                       taken(now, edge), queued(now, edge), edge.capacity);
    }
    const std::size_t busiest = bottleneck(drawn, now);
    return out + fmt::format("],\"bottleneck\":{}}}", busiest == drawn.stages.size()
                                                          ? std::string("null")
                                                          : std::to_string(busiest));
}

}  // namespace weir::pipeline
