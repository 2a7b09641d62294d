// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>
#include <map>
#include <span>
#include <utility>

#include <fmt/format.h>

#include <weir/core/coroutine.hh>
#include <weir/io/file.hh>
#include <weir/pipeline/recorder_file.hh>
#include <weir/pipeline/watch.hh>

namespace weir::pipeline {

recorder::recorder(deployment& of, recorder_options options)
    : _options(std::move(options)),
      _drawn(draw(of.laid_out(), _options.title)),
      _watcher(of, _options.period, _options.elements,
               [this](moment now) { add(std::move(now)); }) {
    WEIR_ASSERT(_options.frames_max >= 2);
}

// The order of values is what the script expects: see picture_script.cc.
void recorder::add(moment now) {
    if (_frames.size() == _options.frames_max) {
        for (std::size_t i = 1; 2 * i < _frames.size(); ++i) {
            _frames[i] = std::move(_frames[2 * i]);
        }
        _frames.resize((_frames.size() + 1) / 2);
        _watcher.set_period(2 * _watcher.period());
    }
    frame& made = _frames.emplace_back();
    made.values.push_back(std::chrono::duration_cast<std::chrono::microseconds>(now.at).count());
    for (const stage_sample& each : now.stages) {
        const stage_counters& counted = each.counted;
        for (const auto value :
             {static_cast<std::int64_t>(counted.elements), each.cursor,
              static_cast<std::int64_t>(counted.service.count()),
              static_cast<std::int64_t>(counted.sampled_elements),
              static_cast<std::int64_t>(each.waits.now), static_cast<std::int64_t>(each.waits.most),
              static_cast<std::int64_t>(each.over ? 1 : 0)}) {
            made.values.push_back(value);
        }
        if (_options.elements != 0) {
            made.newest.push_back(readable(each.newest));
        }
    }
    for (const drawn_edge& edge : _drawn.edges) {
        made.values.push_back(static_cast<std::int64_t>(taken(now, edge)));
        made.values.push_back(static_cast<std::int64_t>(queued(now, edge)));
    }
    // One moment says little of what a stage waits for: on average so far.
    ++_seen;
    _waited.resize(now.stages.size());
    for (std::size_t i = 0; i < now.stages.size(); ++i) {
        std::size_t& waits = now.stages[i].waits.now;
        _waited[i] += waits;
        waits = (_waited[i] + _seen / 2) / _seen;
    }
    const auto at_work =
        static_cast<std::size_t>(std::ranges::count(now.stages, false, &stage_sample::over));
    if (at_work >= _at_work) {
        _at_work = at_work;
        _shown = std::move(now);
    }
}

// Only what changed: [time, place, difference, place, difference, …]; places behind the values
// are those of texts, as numbers in a list.
std::string recorder::frames_json() const {
    std::map<std::string_view, std::int64_t> numbers{{"", 0}};
    std::vector<std::string_view> texts{""};
    std::string out = "\"frames\":[";
    std::vector<std::int64_t> before;
    for (const frame& each : _frames) {
        std::vector<std::int64_t> values = each.values;
        for (const std::string& text : each.newest) {
            const auto [known, added] =
                numbers.try_emplace(text, static_cast<std::int64_t>(texts.size()));
            if (added) {
                texts.push_back(text);
            }
            values.push_back(known->second);
        }
        before.resize(values.size());
        fmt::format_to(std::back_inserter(out), "{}[{}",
                       before[0] == 0 && out.back() == '[' ? "" : ",\n", values[0] - before[0]);
        for (std::size_t i = 1; i < values.size(); ++i) {
            if (values[i] != before[i]) {
                fmt::format_to(std::back_inserter(out), ",{},{}", i, values[i] - before[i]);
            }
        }
        out += ']';
        before = std::move(values);
    }
    out += "],\"texts\":[";
    for (std::size_t i = 0; i < texts.size(); ++i) {
        out += (i == 0 ? "" : ",") + json_quoted(texts[i]);
    }
    return out + ']';
}

std::string recorder::svg() const {
    constexpr double margin = 56;
    constexpr double head = 92;
    constexpr double player = 128;
    const double width = std::max(_drawn.width + 2 * margin, 860.0);
    const double height = head + _drawn.height + 20 + player;
    const double left = (width - _drawn.width) / 2;
    moment shown = _shown;
    shown.stages.resize(_drawn.stages.size());
    std::string out = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
        "role=\"img\" tabindex=\"0\">\n<title>{2}</title>\n<style>{3}{4}</style>\n"
        "<rect class=\"back\" width=\"{0:.0f}\" height=\"{1:.0f}\"/>\n"
        "<text class=\"title\" x=\"{5:.0f}\" y=\"34\">{6}</text>\n"
        "<text class=\"about\" x=\"{5:.0f}\" y=\"58\">{7} stages on {8}, {9} frames</text>\n"
        "<g transform=\"translate({10:.0f} {11:.0f})\">\n",
        width, height, xml_quoted(_drawn.title), picture_style, recording_style, margin,
        xml_quoted(readable(_drawn.title, static_cast<std::size_t>((width - 2 * margin) / 12))),
        _drawn.stages.size(), places_of(_drawn), _frames.size(), left, head);
    out += to_svg(_drawn, shown) + "</g>\n";
    out += fmt::format("<g id=\"player\" transform=\"translate({:.0f} {:.0f})\"></g>\n", margin,
                       height - player + 14);
    out += "<script><![CDATA[\"use strict\";\n";
    out += picture_script;
    out += fmt::format("const recording = {{\"width\":{:.0f},\"graph\":{},\n{}}};\n",
                       width - 2 * margin, to_json(_drawn, shown), frames_json());
    out += recording_script;
    return out + "]]></script>\n</svg>\n";
}

future<> recorder::write(std::string path) const {
    const std::string text = svg();
    io::file to = co_await io::file::open(
        std::move(path), {.mode = io::op::access::write, .create = true, .truncate = true});
    co_await to.write(0, std::as_bytes(std::span(text)));
    co_await to.close();
}

}  // namespace weir::pipeline
