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

// The script knows both.
constexpr double full_at = 85;      // of a hundred: what waits behind that is in the way
constexpr double track_width = 96;  // of the bar that tells how busy a stage is

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

/// What fits into a box of a text of valid UTF-8: its beginning and its end, since groups are
/// told at one and stages at the other. `most` is in letters of usual width.
std::string fitting(std::string_view text, double most) {
    struct letter {
        std::string_view bytes;
        double width;
    };
    std::vector<letter> letters;
    double width = 0;
    for (std::size_t at = 0; at < text.size();) {
        std::size_t end = at + 1;
        while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80) {
            ++end;
        }
        const auto first = static_cast<unsigned char>(text[at]);
        const bool broad = std::string_view("mwMW@%").find(text[at]) != std::string_view::npos;
        const bool upper = text[at] >= 'A' && text[at] <= 'Z';
        // From U+3000 on most are as wide as they are high.
        letters.push_back({text.substr(at, end - at), first >= 0xe3 ? 1.9
                                                      : broad       ? 1.6
                                                      : upper       ? 1.25
                                                                    : 1});
        width += letters.back().width;
        at = end;
    }
    if (width <= most) {
        return std::string(text);
    }
    std::string begin;
    std::string end;
    double left = most - 1;
    for (std::size_t from = 0, to = letters.size(); from < to;) {
        const bool front = begin.size() <= end.size();
        const letter& next = front ? letters[from++] : letters[--to];
        left -= next.width;
        if (left < 0) {
            break;
        }
        front ? begin.append(next.bytes) : end.insert(0, next.bytes);
    }
    return begin + "…" + end;
}

std::string label_of(const picture& drawn, const drawn_stage& stage) {
    constexpr double letters = 19;
    const bool copied = std::ranges::any_of(drawn.stages, [&](const drawn_stage& other) {
        return other.name == stage.name && other.copy != 0;
    });
    const std::string number = copied ? fmt::format(" #{}", stage.copy + 1) : "";
    return fitting(stage.name, letters - static_cast<double>(number.size())) + number;
}

// What the pipe and the label of an edge say when a pointer rests on them.
std::string about(const picture& drawn, const drawn_edge& edge) {
    return fmt::format("<title>{} → {}: elements that wait / room for them, and a second</title>",
                       xml_quoted(drawn.stages[edge.from].name),
                       xml_quoted(drawn.stages[edge.to].name));
}

void append_edge(std::string& out, std::size_t index, const picture& drawn, const moment& now) {
    const drawn_edge& edge = drawn.edges[index];
    const std::string path = path_of(edge);
    const point end = edge.through.back();
    const double full = std::min(
        100.0, 100 * static_cast<double>(queued(now, edge)) / static_cast<double>(edge.capacity));
    fmt::format_to(std::back_inserter(out),
                   "<g class=\"edge{}{}\" data-edge=\"{}\">{}<path class=\"pipe\" d=\"{}\"/>"
                   "<path class=\"fill\" pathLength=\"100\" stroke-dasharray=\"{:.2f} 200\" "
                   "stroke-dashoffset=\"{:.2f}\" d=\"{}\"/>"
                   "<path class=\"tip\" d=\"M{:.1f} {:.1f} l-12 -9 v18 Z\"/></g>\n",
                   edge.fed_back ? " back" : "", full > full_at ? " full" : "", index,
                   about(drawn, edge), path, full, full - 100, path, end.x, end.y);
}

void append_label(std::string& out, std::size_t index, const picture& drawn, const moment& now) {
    const drawn_edge& edge = drawn.edges[index];
    const double seconds = std::chrono::duration<double>(now.at).count();
    fmt::format_to(std::back_inserter(out),
                   "<g class=\"label\" data-label=\"{}\" transform=\"translate({:.1f} {:.1f})\">{}"
                   "<rect x=\"{:.0f}\" y=\"{:.0f}\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"8\"/>"
                   "<text class=\"queue\" y=\"-3\">{} <tspan>/ {}</tspan></text>"
                   "<text class=\"flow\" y=\"12\">{}/s</text></g>\n",
                   index, edge.label.x, edge.label.y, about(drawn, edge), -picture::label_width / 2,
                   -picture::label_height / 2, picture::label_width, picture::label_height,
                   short_number(static_cast<double>(queued(now, edge))),
                   short_number(static_cast<double>(edge.capacity)),
                   short_number(seconds > 0 ? static_cast<double>(taken(now, edge)) / seconds : 0));
}

void append_stage(std::string& out, std::size_t index, const picture& drawn, const moment& now,
                  const stage_figures& figures, bool busiest) {
    const drawn_stage& stage = drawn.stages[index];
    const stage_sample& sample = now.stages[index];
    const bool end = stage.kind == stage_plan::form::source || stage.kind == stage_plan::form::sink;
    const shard_colour colour = colour_of(stage.shard);
    auto into = std::back_inserter(out);
    fmt::format_to(
        into,
        "<g class=\"stage {}{}{}\" data-stage=\"{}\" style=\"--on-light:{};--on-dark:{}\" "
        "transform=\"translate({:.1f} {:.1f})\"><title>{}, {} on {}</title>"
        "<rect class=\"box\" width=\"{:.0f}\" height=\"{:.0f}\" rx=\"{}\"/>"
        "<path class=\"stripe\" d=\"M10 12 V{:.0f}\"/>",
        name_of(stage.kind), busiest ? " busiest" : "", sample.over ? " over" : "", index,
        colour.on_light, colour.on_dark, stage.at.x, stage.at.y, xml_quoted(stage.name),
        name_of(stage.kind), place_of(stage), picture::box_width, picture::box_height,
        end ? 26 : 10, picture::box_height - 12);
    fmt::format_to(
        into,
        "<text class=\"name\" x=\"22\" y=\"23\">{}</text>"
        "<text class=\"place\" x=\"22\" y=\"40\">{}</text>"
        "<text class=\"rate\" x=\"22\" y=\"66\">{}/s</text>"
        "<text class=\"service\" x=\"194\" y=\"66\">{}<tspan> each</tspan></text>"
        "<text class=\"cursor\" x=\"22\" y=\"85\">cursor {}</text>"
        "<text class=\"waits\" x=\"194\" y=\"85\">{}</text>"
        "<rect class=\"track\" x=\"22\" y=\"94\" width=\"{:.0f}\" height=\"6\" rx=\"3\"/>"
        "<rect class=\"load\" x=\"22\" y=\"94\" width=\"{:.1f}\" height=\"6\" rx=\"3\"/>"
        "<text class=\"share\" x=\"194\" y=\"101\">{:.0f} % busy</text>"
        "<g class=\"flag\"><rect x=\"100\" y=\"-13\" width=\"96\" height=\"20\" rx=\"10\"/>"
        "<text x=\"148\" y=\"1\">bottleneck</text></g>"
        "<text class=\"newest\" x=\"4\" y=\"{:.0f}\">{}</text></g>\n",
        xml_quoted(label_of(drawn, stage)), place_of(stage), short_number(figures.rate),
        short_time(figures.service), sample.cursor < 0 ? "–" : std::to_string(sample.cursor),
        sample.waits.most > 1 ? fmt::format("{}/{} calls", sample.waits.now, sample.waits.most)
                              : std::string(sample.over ? "ended" : ""),
        track_width, track_width * figures.load, 100 * figures.load, picture::box_height + 17,
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
    for (std::size_t i = 0; i < drawn.edges.size(); ++i) {
        append_label(out, i, drawn, now);
    }
    for (std::size_t i = 0; i < drawn.stages.size(); ++i) {
        append_stage(out, i, drawn, now, figures[i], i == busiest);
    }
    return out + fmt::format(
                     "<text class=\"legend\" x=\"0\" y=\"{:.0f}\">stages: elements a second, time "
                     "for each · pipes: waiting / room, elements a second</text></g>\n",
                     drawn.height - 6);
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
.weir-pipeline .stage { --place: var(--on-light); }
@media (prefers-color-scheme: dark) { .weir-pipeline .stage { --place: var(--on-dark); } }
.weir-pipeline text { fill: var(--text); }
.weir-pipeline .box { fill: var(--card); stroke: var(--line); stroke-width: 1.5; }
.weir-pipeline .stripe { stroke: var(--place); stroke-width: 5; stroke-linecap: round; fill: none; }
.weir-pipeline .source .stripe, .weir-pipeline .sink .stripe { stroke-dasharray: 9 7; }
.weir-pipeline .name { font-weight: 650; font-size: 14px; }
.weir-pipeline .rate { font-weight: 650; font-size: 17px; }
.weir-pipeline .service { font-size: 14px; text-anchor: end; }
.weir-pipeline .waits, .weir-pipeline .share { text-anchor: end; }
.weir-pipeline .place { fill: var(--place); font-weight: 650; }
.weir-pipeline .cursor, .weir-pipeline .waits, .weir-pipeline .share,
.weir-pipeline .flow, .weir-pipeline .legend, .weir-pipeline tspan { fill: var(--soft); }
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
.weir-pipeline .service tspan { font-size: 12px; }
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
