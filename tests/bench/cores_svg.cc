// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>

#include <bench/cores_result.hh>
#include <fmt/format.h>

namespace weir::bench {

namespace {

constexpr double page_width = 1240;
constexpr double margin = 40;
constexpr double gap = 60;
constexpr double panel_width = (page_width - 2 * margin - gap) / 2;
constexpr double map_size = 492;    // of a heat map's square at most
constexpr double cell_limit = 96;   // few cpus don't get huge cells
constexpr double label_space = 58;  // left of and above a heat map
constexpr double small_text_cell = 25;

struct colour {
    double red, green, blue;
};

// From light to dark at even steps of lightness: more is darker, in grey print and for every eye.
constexpr colour ramp[] = {{247, 246, 238}, {222, 231, 214}, {176, 214, 199},
                           {122, 190, 189}, {74, 160, 180},  {47, 127, 166},
                           {40, 93, 145},   {36, 60, 113},   {27, 31, 72}};
constexpr const char* ink = "#1c2430";
constexpr const char* faint_ink = "#69737f";
constexpr const char* node_tints[] = {"#d8e4f2", "#f3e2cf", "#dcecd9", "#ecdcea"};

struct fill {
    std::string background;
    const char* text;
};

fill fill_at(double fraction) {
    constexpr auto last = static_cast<double>(std::size(ramp) - 1);
    const double at = std::clamp(fraction, 0.0, 1.0) * last;
    const auto low = static_cast<std::size_t>(std::min(std::floor(at), last - 1));
    const double part = at - static_cast<double>(low);
    const auto mix = [part](double a, double b) { return std::lround(a + (b - a) * part); };
    const long red = mix(ramp[low].red, ramp[low + 1].red);
    const long green = mix(ramp[low].green, ramp[low + 1].green);
    const long blue = mix(ramp[low].blue, ramp[low + 1].blue);
    const double light = 0.299 * static_cast<double>(red) + 0.587 * static_cast<double>(green) +
                         0.114 * static_cast<double>(blue);
    return {fmt::format("#{:02x}{:02x}{:02x}", red, green, blue), light > 140 ? ink : "#ffffff"};
}

// Where a value lies between the least and the greatest, by ratio.
struct scale {
    double low = 0;
    double high = 0;
    bool dark_is_low = false;

    double fraction(double value) const {
        if (value <= 0 || low <= 0) {
            return 0;
        }
        const double at = std::log(value / low) / std::log(high / low);
        return dark_is_low ? 1 - at : at;
    }
};

class canvas {
  public:
    void rectangle(double x, double y, double width, double height, std::string_view fill,
                   std::string_view more = "") {
        fmt::format_to(out(),
                       "<rect x='{:.1f}' y='{:.1f}' width='{:.1f}' height='{:.1f}' "
                       "fill='{}' {}/>\n",
                       x, y, width, height, fill, more);
    }
    void line(double x1, double y1, double x2, double y2, std::string_view colour, double width) {
        fmt::format_to(out(),
                       "<line x1='{:.1f}' y1='{:.1f}' x2='{:.1f}' y2='{:.1f}' stroke='{}' "
                       "stroke-width='{}'/>\n",
                       x1, y1, x2, y2, colour, width);
    }
    void dot(double x, double y, double radius, std::string_view fill) {
        fmt::format_to(out(),
                       "<circle cx='{:.1f}' cy='{:.1f}' r='{:.1f}' fill='{}' "
                       "fill-opacity='0.45'/>\n",
                       x, y, radius, fill);
    }
    // anchor  start, middle or end
    void text(double x, double y, std::string_view words, double size,
              std::string_view colour = ink, std::string_view anchor = "start",
              std::string_view more = "") {
        fmt::format_to(out(),
                       "<text x='{:.1f}' y='{:.1f}' font-size='{:.1f}' fill='{}' "
                       "text-anchor='{}' {}>",
                       x, y, size, colour, anchor, more);
        for (const char c : words) {
            if (c == '<' || c == '>' || c == '&') {
                _text += c == '<' ? "&lt;" : c == '>' ? "&gt;" : "&amp;";
            } else if (static_cast<unsigned char>(c) >= 0x20) {
                _text += c;
            }
        }
        _text += "</text>\n";
    }
    std::string page(double height) const {
        return fmt::format(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{0:.0f}' height='{1:.0f}' "
            "viewBox='0 0 {0:.0f} {1:.0f}' font-family='Inter, Helvetica, Arial, sans-serif'>\n"
            "<rect width='100%' height='100%' fill='#ffffff'/>\n{2}</svg>\n",
            page_width, height, _text);
    }

  private:
    std::back_insert_iterator<std::string> out() { return std::back_inserter(_text); }
    std::string _text;
};

// A square of cells with labels on two sides.
struct heat_map {
    std::string title;
    std::string subtitle;
    std::vector<std::string> labels;
    std::vector<unsigned> borders;  // by cell: cells of one number are one block
    std::vector<std::string> block_names;
    std::vector<unsigned> cores{};  // by cell; empty: cells are no cpus
    std::string across;             // what the columns are
    std::string down;
    scale range;
    std::function<double(std::size_t, std::size_t)> value;  // 0: no cell
};

double cell_size(const heat_map& map, double limit) {
    return std::min(cell_limit, limit / static_cast<double>(map.labels.size()));
}

void draw_blocks(canvas& page, const heat_map& map, double left, double top, double cell) {
    const std::size_t count = map.labels.size();
    const double size = cell * static_cast<double>(count);
    for (std::size_t i = 0; i < count;) {
        std::size_t end = i;
        while (end < count && map.borders[end] == map.borders[i]) {
            ++end;
        }
        const double from = static_cast<double>(i) * cell;
        const double length = static_cast<double>(end - i) * cell;
        const char* tint = node_tints[map.borders[i] % std::size(node_tints)];
        page.rectangle(left + from, top - 40, length - 1, 17, tint);
        page.rectangle(left - 52, top + from, 17, length - 1, tint);
        const std::string& name = map.block_names[map.borders[i]];
        if (length > 7 * static_cast<double>(name.size())) {
            page.text(left + from + length / 2, top - 28, name, 11, ink, "middle");
            const double x = left - 40;
            const double y = top + from + length / 2;
            page.text(x, y, name, 11, ink, "middle",
                      fmt::format("transform='rotate(-90 {:.1f} {:.1f})'", x, y));
        }
        if (i > 0) {
            page.line(left + from - 0.5, top, left + from - 0.5, top + size, "#ffffff", 5);
            page.line(left, top + from - 0.5, left + size, top + from - 0.5, "#ffffff", 5);
        }
        i = end;
    }
}

// Siblings stand closer together than cores.
void draw_cores(canvas& page, const heat_map& map, double left, double top, double cell) {
    const double size = cell * static_cast<double>(map.labels.size());
    for (std::size_t i = 1; i < map.cores.size() && cell >= 6; ++i) {
        if (map.cores[i] != map.cores[i - 1]) {
            const double at = static_cast<double>(i) * cell - 0.5;
            page.line(left + at, top, left + at, top + size, "#ffffff", 1.6);
            page.line(left, top + at, left + size, top + at, "#ffffff", 1.6);
        }
    }
}

void draw_legend(canvas& page, const heat_map& map, double left, double top, double width) {
    if (map.range.low <= 0) {
        return;
    }
    constexpr int steps = 60;
    const double step = width / steps;
    for (int i = 0; i < steps; ++i) {
        const double value =
            map.range.low * std::pow(map.range.high / map.range.low, (i + 0.5) / steps);
        page.rectangle(left + i * step, top, step + 0.5, 10,
                       fill_at(map.range.fraction(value)).background);
    }
    for (const double part : {0.0, 0.5, 1.0}) {
        const double value = map.range.low * std::pow(map.range.high / map.range.low, part);
        page.text(left + part * width, top + 24, short_number(value), 11, faint_ink,
                  part == 0   ? "start"
                  : part == 1 ? "end"
                              : "middle");
    }
}

// returns  how much height it took
double draw(canvas& page, const heat_map& map, double x, double y, double limit) {
    const std::size_t count = map.labels.size();
    const double cell = cell_size(map, limit);
    const double size = cell * static_cast<double>(count);
    page.text(x, y + 16, map.title, 17, ink, "start", "font-weight='600'");
    page.text(x, y + 35, map.subtitle, 12, faint_ink);
    const double left = x + label_space;
    const double top = y + 104;
    page.text(left, top - 47, map.across, 11, faint_ink);
    page.text(left - 52, top - 10, map.down, 11, faint_ink);
    const auto every = static_cast<std::size_t>(std::ceil(14 / cell));
    for (std::size_t i = 0; i < count; ++i) {
        const double at = (static_cast<double>(i) + 0.5) * cell;
        if (i % every == 0) {
            page.text(left + at, top - 8, map.labels[i], 11, faint_ink, "middle");
            page.text(left - 8, top + at + 4, map.labels[i], 11, faint_ink, "end");
        }
        for (std::size_t j = 0; j < count; ++j) {
            const double value = map.value(i, j);
            const double line = cell > 10 ? 0.6 : 0;
            const double cell_x = left + static_cast<double>(j) * cell;
            const double cell_y = top + static_cast<double>(i) * cell;
            if (value <= 0) {
                page.rectangle(cell_x, cell_y, cell - line, cell - line, "#eef0f2");
                continue;
            }
            const fill shade = fill_at(map.range.fraction(value));
            page.rectangle(cell_x, cell_y, cell - line, cell - line, shade.background);
            if (cell >= small_text_cell) {
                const double text = std::min(14.0, cell * 0.36);
                page.text(cell_x + cell / 2, cell_y + cell / 2 + text * 0.36, short_number(value),
                          text, shade.text, "middle");
            }
        }
    }
    draw_cores(page, map, left, top, cell);
    draw_blocks(page, map, left, top, cell);
    draw_legend(page, map, left, top + size + 16, std::max(size, 160.0));
    return 104 + size + 16 + 34;
}

// Values that differ by little shall look so: the scale spans at least a factor of two, and what
// is added is at its dark end.
scale scale_of(const std::vector<double>& values, bool dark_is_low) {
    scale range{0, 0, dark_is_low};
    for (const double value : values) {
        if (value > 0) {
            range.low = range.low == 0 ? value : std::min(range.low, value);
            range.high = std::max(range.high, value);
        }
    }
    if (dark_is_low) {
        range.low = std::min(range.low, range.high / 2);
    } else {
        range.high = std::max(range.high, range.low * 2);
    }
    return range;
}

heat_map cpu_map(const cores_result& result) {
    heat_map map;
    for (const unsigned cpu : result.cpus) {
        map.labels.push_back(std::to_string(cpu));
        map.cores.push_back(result.map.core_of(cpu));
        map.borders.push_back(result.map.cores[map.cores.back()].node);
    }
    for (const weir::topology::node& node : result.map.nodes) {
        map.block_names.push_back(fmt::format("node {}", node.number));
    }
    return map;
}

using matrix = std::map<std::pair<unsigned, unsigned>, double>;

heat_map round_trips(const cores_result& result) {
    heat_map map = cpu_map(result);
    map.title = "Round trip between cpus, ns";
    map.subtitle = "One message there, one back, through two rings. Darker is slower.";
    std::vector<double> values;
    matrix cells;
    for (const pair_result& each : result.pairs) {
        values.push_back(each.round_trip_ns);
        cells[{each.a, each.b}] = cells[{each.b, each.a}] = each.round_trip_ns;
    }
    map.range = scale_of(values, false);
    map.value = [cells = std::move(cells), &result](std::size_t i, std::size_t j) {
        const auto cell = cells.find({result.cpus[i], result.cpus[j]});
        return cell == cells.end() ? 0 : cell->second;
    };
    return map;
}

heat_map rates(const cores_result& result) {
    heat_map map = cpu_map(result);
    map.title = "Messages between cpus, million/s";
    map.subtitle = "64-byte messages in batches of 64 through one ring. Darker is slower.";
    map.down = "from";
    map.across = "to";
    std::vector<double> values;
    matrix cells;
    for (const pair_result& each : result.pairs) {
        const double forward = each.forward_per_s / 1e6;
        const double backward = each.backward_per_s / 1e6;
        values.insert(values.end(), {forward, backward});
        cells[{each.a, each.b}] = forward;
        cells[{each.b, each.a}] = backward;
    }
    map.range = scale_of(values, true);
    map.value = [cells = std::move(cells), &result](std::size_t i, std::size_t j) {
        const auto cell = cells.find({result.cpus[i], result.cpus[j]});
        return cell == cells.end() ? 0 : cell->second;
    };
    return map;
}

heat_map memory_map(const cores_result& result, double memory_result::* field, std::string title,
                    std::string subtitle, bool dark_is_low) {
    heat_map map;
    map.title = std::move(title);
    map.subtitle = std::move(subtitle);
    map.across = "memory of node";
    map.down = "from";
    std::vector<double> values;
    matrix cells;
    for (const memory_result& each : result.memory) {
        values.push_back(each.*field);
        cells[{each.from, each.to}] = each.*field;
    }
    for (std::size_t node = 0; node < result.map.nodes.size(); ++node) {
        map.labels.push_back(std::to_string(result.map.nodes[node].number));
        map.borders.push_back(static_cast<unsigned>(node));
        map.block_names.emplace_back();
    }
    map.range = scale_of(values, dark_is_low);
    map.value = [cells = std::move(cells)](std::size_t i, std::size_t j) {
        const auto cell = cells.find({static_cast<unsigned>(i), static_cast<unsigned>(j)});
        return cell == cells.end() ? 0 : cell->second;
    };
    return map;
}

void draw_axis(canvas& page, const scale& range, double left, double width, double top,
               double bottom) {
    std::vector<double> steps{1, 2, 5};
    if (range.high < range.low * 8) {
        steps = {1, 1.5, 2, 3, 4, 5, 7};
    }
    for (double decade = 1; decade <= range.high; decade *= 10) {
        for (const double step : steps) {
            const double value = decade * step;
            if (value >= range.low && value <= range.high) {
                const double at = left + range.fraction(value) * width;
                page.line(at, top, at, bottom, "#e3e6ea", 1);
                page.text(at, bottom + 15, short_number(value), 11, faint_ink, "middle");
            }
        }
    }
}

// One row of dots a group on an axis by ratio; the medians are marked.
// returns  how much height it took
double draw_groups(canvas& page, const cores_result& result, double y) {
    const std::vector<group_summary> groups = summarize(result);
    constexpr double row = 34;
    constexpr double names = 190;
    constexpr double figures = 300;
    const double left = margin + names;
    const double width = page_width - 2 * margin - names - figures;
    page.text(margin, y + 16, "Round trip by what two cpus share, ns", 17, ink, "start",
              "font-weight='600'");
    const bool known = result.map.distances_known;
    page.text(margin, y + 35,
              fmt::format("Expected order from top to bottom{}. One dot a pair, the bar is the "
                          "median, the tick the bare cache lines.",
                          known ? "" : " (distances are guessed)"),
              12, faint_ink);
    std::vector<double> values;
    for (const group_summary& each : groups) {
        values.insert(values.end(),
                      {each.round_trip_ns.low, each.round_trip_ns.high, each.bare_ns.median});
    }
    scale range = scale_of(values, false);
    range.low /= 1.15;
    range.high *= 1.15;
    const double top = y + 54;
    const double bottom = top + row * static_cast<double>(groups.size());
    draw_axis(page, range, left, width, top, bottom);
    page.text(left + width + 24, top - 6, "median (min-max)", 11, faint_ink);
    page.text(page_width - margin, top - 6, "messages/s", 11, faint_ink, "end");
    double middle = top + row / 2;
    for (const group_summary& each : groups) {
        page.line(margin, middle + row / 2, page_width - margin, middle + row / 2, "#eef0f2", 1);
        page.text(margin, middle + 4, each.group.name, 13);
        for (std::size_t i = 0; i < each.pairs.size(); ++i) {
            const double spread = (static_cast<double>(i % 5) - 2) * 3;
            page.dot(left + range.fraction(each.pairs[i]->round_trip_ns) * width, middle + spread,
                     4, "#2f7fa6");
        }
        const double at = left + range.fraction(each.round_trip_ns.median) * width;
        page.rectangle(at - 1.5, middle - 12, 3, 24, ink);
        if (each.bare_ns.median > 0) {
            const double bare = left + range.fraction(each.bare_ns.median) * width;
            page.rectangle(bare - 1, middle - 7, 2, 14, "#c0562f");
        }
        page.text(left + width + 24, middle + 4,
                  fmt::format("{:.0f} ({:.0f}-{:.0f})", each.round_trip_ns.median,
                              each.round_trip_ns.low, each.round_trip_ns.high),
                  13);
        page.text(page_width - margin, middle + 4, short_number(each.per_s.median), 13, ink, "end");
        middle += row;
    }
    double end = bottom + 40;
    const std::vector<std::string> contradictions =
        result.map.synthetic ? std::vector<std::string>() : surprises(groups);
    for (const std::string& each : contradictions) {
        page.text(margin, end, each, 12, "#b03a1e");
        end += 18;
    }
    return end - y;
}

}  // namespace

std::string cores_svg(const cores_result& result) {
    canvas page;
    const double second = margin + panel_width + gap;
    page.text(margin, 52, "What the cores of this machine are to each other", 26, ink, "start",
              "font-weight='700'");
    page.text(margin, 78, result.machine, 14, faint_ink);
    double y = 98;
    for (const std::string& note : result.notes) {
        page.text(margin, y, note, 12, result.map.synthetic ? "#b03a1e" : faint_ink);
        y += 17;
    }
    y += 18;
    if (!result.pairs.empty()) {
        draw(page, round_trips(result), margin, y, map_size);
        y += draw(page, rates(result), second, y, map_size) + 24;
        y += draw_groups(page, result, y) + 14;
    }
    if (!result.memory.empty()) {
        const double third = (page_width - 2 * margin) / 3;
        draw(page,
             memory_map(result, &memory_result::latency_ns, "Memory latency, ns",
                        "A chain of dependent loads. Darker is slower.", false),
             margin, y, third - 100);
        draw(page,
             memory_map(result, &memory_result::one_core_MB_per_s, "Memory bandwidth, MB/s",
                        "Reading, one core. Darker is slower.", true),
             margin + third, y, third - 100);
        y += draw(page,
                  memory_map(result, &memory_result::all_cores_MB_per_s, "Memory bandwidth, MB/s",
                             "Reading, all cores of the node. Darker is slower.", true),
                  margin + 2 * third, y, third - 100);
    }
    return page.page(y + 10);
}

}  // namespace weir::bench
