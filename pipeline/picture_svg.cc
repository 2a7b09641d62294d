// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include <weir/pipeline/picture.hh>

// The graph as SVG. It stands by itself, with the figures of one moment; picture_script only
// changes texts and widths in it.
namespace weir::pipeline {

namespace {

constexpr unsigned core_colours = 8;

std::string curve(point from, point to) {
    const double bend = std::abs(to.x - from.x) / 2;
    return fmt::format(" C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}", from.x + bend, from.y,
                       to.x - bend, to.y, to.x, to.y);
}

std::string path_of(const drawn_edge& edge) {
    const std::vector<point>& at = edge.through;
    std::string out = fmt::format("M{:.1f} {:.1f}", at[0].x, at[0].y);
    if (edge.fed_back) {
        constexpr double bend = 64;
        fmt::format_to(std::back_inserter(out),
                       " C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f} L{:.1f} {:.1f}"
                       " C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}",
                       at[0].x + bend, at[0].y, at[1].x + bend, at[1].y, at[1].x, at[1].y, at[2].x,
                       at[2].y, at[2].x - bend, at[2].y, at[3].x - bend, at[3].y, at[3].x, at[3].y);
        return out;
    }
    for (std::size_t i = 1; i < at.size(); ++i) {
        out += curve(at[i - 1], at[i]);
    }
    return out;
}

point middle_of(const drawn_edge& edge) {
    const std::vector<point>& at = edge.through;
    const std::size_t half = at.size() / 2;
    return {(at[half - 1].x + at[half].x) / 2, (at[half - 1].y + at[half].y) / 2};
}

std::string label_of(const picture& drawn, const drawn_stage& stage) {
    constexpr std::size_t shown = 17;
    const bool copied = std::ranges::any_of(drawn.stages, [&](const drawn_stage& other) {
        return other.name == stage.name && other.copy != 0;
    });
    return copied ? readable(stage.name, shown - 4) + fmt::format(" #{}", stage.copy + 1)
                  : readable(stage.name, shown);
}

void append_edge(std::string& out, std::size_t index, const picture& drawn, const moment& now) {
    const drawn_edge& edge = drawn.edges[index];
    const std::string path = path_of(edge);
    const point label = middle_of(edge);
    const point end = edge.through.back();
    const std::size_t waiting = queued(now, edge);
    const double full =
        std::min(100.0, 100 * static_cast<double>(waiting) / static_cast<double>(edge.capacity));
    const double seconds = std::chrono::duration<double>(now.at).count();
    fmt::format_to(std::back_inserter(out),
                   "<g class=\"edge{}\" data-edge=\"{}\"><path class=\"pipe\" d=\"{}\"/>"
                   "<path class=\"fill\" pathLength=\"100\" stroke-dasharray=\"{:.2f} 200\" "
                   "stroke-dashoffset=\"{:.2f}\" d=\"{}\"/>"
                   "<path class=\"tip\" d=\"M{:.1f} {:.1f} l-12 -9 v18 Z\"/>"
                   "<g class=\"label\" transform=\"translate({:.1f} {:.1f})\">"
                   "<rect x=\"-46\" y=\"-18\" width=\"92\" height=\"36\" rx=\"8\"/>"
                   "<text class=\"queue\" y=\"-3\">{} <tspan>/ {}</tspan></text>"
                   "<text class=\"flow\" y=\"12\">{}/s</text></g></g>\n",
                   edge.fed_back ? " back" : "", index, path, full, full - 100, path, end.x, end.y,
                   label.x, label.y, waiting, edge.capacity,
                   short_number(seconds > 0 ? static_cast<double>(taken(now, edge)) / seconds : 0));
}

void append_stage(std::string& out, std::size_t index, const picture& drawn, const moment& now,
                  const stage_figures& figures, bool busiest) {
    const drawn_stage& stage = drawn.stages[index];
    const stage_sample& sample = now.stages[index];
    const bool end = stage.kind == stage_plan::form::source || stage.kind == stage_plan::form::sink;
    fmt::format_to(
        std::back_inserter(out),
        "<g class=\"stage {} core{}{}{}\" data-stage=\"{}\" transform=\"translate({:.1f} {:.1f})\">"
        "<title>{}, {} on core {}</title>"
        "<rect class=\"box\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"{}\"/>"
        "<path class=\"stripe\" d=\"M10 12 V{:.0f}\"/>"
        "<text class=\"name\" x=\"22\" y=\"24\">{}</text>"
        "<text class=\"core\" x=\"194\" y=\"24\">core {}</text>"
        "<text class=\"rate\" x=\"22\" y=\"50\">{}/s</text>"
        "<text class=\"service\" x=\"194\" y=\"50\">{}</text>"
        "<text class=\"cursor\" x=\"22\" y=\"69\">cursor {}</text>"
        "<text class=\"waits\" x=\"194\" y=\"69\">{}</text>"
        "<rect class=\"track\" x=\"22\" y=\"79\" width=\"132\" height=\"6\" rx=\"3\"/>"
        "<rect class=\"load\" x=\"22\" y=\"79\" width=\"{:.1f}\" height=\"6\" rx=\"3\"/>"
        "<text class=\"share\" x=\"194\" y=\"86\">{:.0f} %</text>"
        "<g class=\"flag\"><rect x=\"100\" y=\"-13\" width=\"96\" height=\"20\" rx=\"10\"/>"
        "<text x=\"148\" y=\"1\">bottleneck</text></g>"
        "<text class=\"newest\" x=\"4\" y=\"{:.0f}\">{}</text></g>\n",
        name_of(stage.kind), stage.shard % core_colours, busiest ? " busiest" : "",
        sample.over ? " over" : "", index, stage.at.x, stage.at.y, xml_quoted(stage.name),
        name_of(stage.kind), stage.shard, picture::box_width, picture::box_height, end ? 26 : 10,
        picture::box_height - 12, xml_quoted(label_of(drawn, stage)), stage.shard,
        short_number(figures.rate), short_time(figures.service), sample.cursor,
        sample.waits.most > 1 ? fmt::format("{}/{} calls", sample.waits.now, sample.waits.most)
                              : std::string(sample.over ? "ended" : ""),
        132 * figures.load, 100 * figures.load, picture::box_height + 17,
        xml_quoted(readable(sample.newest, 30)));
}

}  // namespace

std::string to_svg(const picture& drawn, const moment& now) {
    const std::vector<stage_figures> figures = figures_of(drawn, now);
    const std::size_t busiest = bottleneck(drawn, now);
    std::string out = "<g class=\"weir-pipeline\">\n";
    for (std::size_t i = 0; i < drawn.edges.size(); ++i) {
        append_edge(out, i, drawn, now);
    }
    for (std::size_t i = 0; i < drawn.stages.size(); ++i) {
        append_stage(out, i, drawn, now, figures[i], i == busiest);
    }
    return out + "</g>\n";
}

// clang-format off
const char picture_style[] = R"css(
.weir-pipeline { --card: #fff; --line: #ccd5dd; --text: #17222d; --soft: #63727f; --pipe: #dde4ea;
  --tip: #8494a1; --fill: #4a9db2; --full: #efa94a; --load: #0b7285;
  --hot: #e8590c; --hot-card: #fff4ec; --label: #f4f6f8;
  font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) {
  .weir-pipeline { --card: #18212a; --line: #384856; --text: #e4eaf0; --soft: #8fa0ae;
    --pipe: #26323d; --tip: #71828f;
    --fill: #3d93a8; --full: #c98a2b; --load: #4dbdd1; --hot: #ff922b; --hot-card: #33241a;
    --label: #10161c; }
}
.weir-pipeline .core0 { --core: #1c7ed6; } .weir-pipeline .core1 { --core: #2f9e44; }
.weir-pipeline .core2 { --core: #e67700; } .weir-pipeline .core3 { --core: #9c36b5; }
.weir-pipeline .core4 { --core: #e03131; } .weir-pipeline .core5 { --core: #0c8599; }
.weir-pipeline .core6 { --core: #868e05; } .weir-pipeline .core7 { --core: #c2255c; }
.weir-pipeline text { fill: var(--text); }
.weir-pipeline .box { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
.weir-pipeline .stripe { stroke: var(--core); stroke-width: 5; stroke-linecap: round; fill: none; }
.weir-pipeline .source .stripe, .weir-pipeline .sink .stripe { stroke-dasharray: 9 7; }
.weir-pipeline .name { font-weight: 650; font-size: 14px; }
.weir-pipeline .rate { font-weight: 650; font-size: 17px; }
.weir-pipeline .service { font-size: 14px; text-anchor: end; }
.weir-pipeline .core, .weir-pipeline .waits, .weir-pipeline .share { text-anchor: end; }
.weir-pipeline .core { fill: var(--core); font-weight: 650; }
.weir-pipeline .cursor, .weir-pipeline .waits, .weir-pipeline .share,
.weir-pipeline .flow, .weir-pipeline tspan { fill: var(--soft); }
.weir-pipeline .track { fill: var(--pipe); }
.weir-pipeline .load { fill: var(--load); }
.weir-pipeline .pipe, .weir-pipeline .fill { fill: none; stroke-width: 9; }
.weir-pipeline .pipe { stroke: var(--pipe); }
.weir-pipeline .fill { stroke: var(--fill); }
.weir-pipeline .tip { fill: var(--tip); }
.weir-pipeline .full .fill { stroke: var(--full); }
.weir-pipeline .back .pipe { stroke-dasharray: 3 2; }
.weir-pipeline .label rect { fill: var(--label); stroke: var(--pipe); }
.weir-pipeline .label text { text-anchor: middle; }
.weir-pipeline .queue { font-weight: 650; }
.weir-pipeline .queue tspan { font-weight: 400; }
.weir-pipeline .flow { font-size: 11px; }
.weir-pipeline .newest { font: 11px ui-monospace, "DejaVu Sans Mono", monospace;
  fill: var(--soft); }
.weir-pipeline .flag { display: none; }
.weir-pipeline .flag rect { fill: var(--hot); }
.weir-pipeline .flag text { fill: #fff; font-weight: 700; font-size: 11px; text-anchor: middle;
  letter-spacing: .03em; }
.weir-pipeline .busiest .flag { display: inline; }
.weir-pipeline .busiest .box { stroke: var(--hot); stroke-width: 3.5; fill: var(--hot-card); }
.weir-pipeline .busiest .load { fill: var(--hot); }
.weir-pipeline .over { opacity: .55; }
)css";
// clang-format on

}  // namespace weir::pipeline
