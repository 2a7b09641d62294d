// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <weir/pipeline/deployment.hh>

// A deployed pipeline as people see it: its graph with a place for each stage, and the figures of
// one moment beside it.
namespace weir::pipeline {

struct point {
    double x = 0;
    double y = 0;
};

/// A stage as a box.
struct drawn_stage {
    std::string name{};
    stage_plan::form kind = stage_plan::form::work;
    shard_id shard = 0;
    std::optional<unsigned> cpu{};  ///< that its shard is bound to, if it is
    unsigned copy = 0;
    std::size_t capacity = 0;  ///< of its ring; 0 for the sink
    point at{};                ///< the upper left corner
};

/// What one stage reads of another's ring, as an arrow.
struct drawn_edge {
    unsigned from = 0;
    unsigned to = 0;
    std::size_t capacity = 1;      ///< what can wait for this reader: its part of the ring
    bool fed_back = false;         ///< the reader stands before the writer, in a loop
    std::vector<point> through{};  ///< from the writer's box to the reader's
    point label{};                 ///< the middle of its figures
};

/// A deployed graph, laid out.
struct picture {
    std::string title{};
    unsigned shards = 0;                ///< that have stages
    std::vector<drawn_stage> stages{};  ///< as in plan::stages
    std::vector<drawn_edge> edges{};    ///< ordered by reader, then by writer
    double width = 0;
    double height = 0;

    static constexpr double box_width = 208;
    static constexpr double box_height = 112;
    static constexpr double label_width = 92;
    static constexpr double label_height = 36;
};

/// Lays the graph out from left to right: a stage stands behind all that it reads.
picture draw(const plan& laid, std::string title);

/// What a deployment had done at one moment.
struct moment {
    duration at{};  ///< since someone began to watch
    std::vector<stage_sample> stages{};
};

/// returns  elements that wait for the reader of an edge
std::size_t queued(const moment& now, const drawn_edge& edge);
/// returns  elements that the reader of an edge took
std::uint64_t taken(const moment& now, const drawn_edge& edge);

/// A stage, on average since someone began to watch.
struct stage_figures {
    double rate = 0;     ///< elements a second
    duration service{};  ///< for an element, of a future as long as it lasts; 0 if not known
    double load = 0;     ///< 0..1: the part of the time that it works, or that its window is full
};
std::vector<stage_figures> figures_of(const picture& drawn, const moment& now);

/// The stage that holds the others up: the busiest, and among equals the one with the longest
/// queue before it and the shortest behind it.
/// returns  its index; the number of stages if none stands out, such as where all do little since
///          others have their cpus, or if all are over
std::size_t bottleneck(const picture& drawn, const moment& now);

/// The graph and the moment for graphviz.
std::string to_dot(const picture& drawn, const moment& now);
/// One digraph with a cluster for each deployment.
std::string to_dot(const std::vector<std::pair<const picture*, const moment*>>& all);
/// The graph and the moment as a JSON object.
std::string to_json(const picture& drawn, const moment& now);
/// The graph and the moment as an SVG group, styled by picture_style(). Its stages and edges
/// carry data-stage, data-edge and data-label, by which a script finds them.
std::string to_svg(const picture& drawn, const moment& now);
/// CSS for to_svg().
extern const char picture_style[];
/// JavaScript that works the figures out and changes a drawn picture from one moment to the next.
extern const char picture_script[];

// For whoever writes pictures.

/// Valid UTF-8 without control characters, of at most `most` code points: the rest is "…".
std::string readable(std::string_view text, std::size_t most = 200);
/// A JSON string, safe inside a script of a page too.
std::string json_quoted(std::string_view text);
/// Text for XML.
std::string xml_quoted(std::string_view text);
/// "1.25 M": three digits and a unit.
std::string short_number(double value);
/// "1.25 µs"; "–" for none.
std::string short_time(duration time);
const char* name_of(stage_plan::form kind);
/// "shard 1, cpu 3", or "shard 1" if that is bound to no cpu.
std::string place_of(const drawn_stage& stage);
/// All places: "2 shards, cpus 1,3", or "2 shards".
std::string places_of(const picture& drawn);
/// Of what lies on a shard; they come again after a few. None is that of a bottleneck.
struct shard_colour {
    const char* on_light;
    const char* on_dark;
};
shard_colour colour_of(shard_id shard);

}  // namespace weir::pipeline
