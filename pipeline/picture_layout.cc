// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include <weir/pipeline/picture.hh>

// Layers, as Sugiyama, Tagawa and Toda draw them: a stage stands one layer behind the last of
// those that it reads, edges that pass layers get a place in each, and places move to the middle
// of what they are joined with. Graphs are small, so the simplest form of each step will do.
namespace weir::pipeline {

namespace {

constexpr double layer_gap = 190;
constexpr double wide_gap = 330;  // where more edges than boxes need room for their labels
constexpr double box_gap = 34;
constexpr double lane_height = 44;  // of an edge that passes a layer, with its label
constexpr double back_gap = 46;     // below all, for edges that go back
constexpr double label_gap = 4;
constexpr double legend_height = 40;
constexpr double legend_width = 520;

class layout {
  public:
    explicit layout(picture& into) : _into(into), _places(into.stages.size()) {}

    void run() {
        assign_layers();
        split_edges();
        order_layers();
        align();
        keep_apart();
        store();
    }

  private:
    /// A stage, or the place of a passing edge in a layer.
    struct place {
        std::size_t layer = 0;
        double height = picture::box_height;
        double middle = 0;
        double wanted = 0;  // while layers are put in order: where the neighbours are
        std::vector<std::size_t> before{};
        std::vector<std::size_t> behind{};
    };

    // Stages come after all that they read, but for what is fed back.
    void assign_layers() {
        for (std::size_t i = 0; i < _places.size(); ++i) {
            for (const drawn_edge& edge : _into.edges) {
                if (edge.to == i && !edge.fed_back) {
                    _places[i].layer = std::max(_places[i].layer, _places[edge.from].layer + 1);
                }
            }
        }
    }

    void split_edges() {
        for (const drawn_edge& edge : _into.edges) {
            _passing.emplace_back();
            if (edge.fed_back) {
                continue;
            }
            std::size_t last = edge.from;
            for (std::size_t layer = _places[edge.from].layer + 1; layer < _places[edge.to].layer;
                 ++layer) {
                _places.push_back({.layer = layer, .height = lane_height});
                _passing.back().push_back(_places.size() - 1);
                join(last, _places.size() - 1);
                last = _places.size() - 1;
            }
            join(last, edge.to);
        }
    }
    void join(std::size_t from, std::size_t to) {
        _places[from].behind.push_back(to);
        _places[to].before.push_back(from);
    }

    void order_layers() {
        for (std::size_t i = 0; i < _places.size(); ++i) {
            const std::size_t layer = _places[i].layer;
            _layers.resize(std::max(_layers.size(), layer + 1));
            _layers[layer].push_back(i);
        }
        number();
        for (int sweep = 0; sweep < 4; ++sweep) {
            for (std::size_t i = 0; i < _layers.size(); ++i) {
                const bool forth = sweep % 2 == 0;
                std::vector<std::size_t>& layer = _layers[forth ? i : _layers.size() - 1 - i];
                for (const std::size_t each : layer) {
                    place& of = _places[each];
                    of.wanted = mean(forth ? of.before : of.behind, of.middle);
                }
                std::ranges::sort(layer, {}, [this](std::size_t each) {
                    return std::pair(_places[each].wanted, _places[each].middle);
                });
                number();
            }
        }
    }
    void number() {
        for (const auto& layer : _layers) {
            for (std::size_t i = 0; i < layer.size(); ++i) {
                _places[layer[i]].middle =
                    static_cast<double>(i) - static_cast<double>(layer.size() - 1) / 2;
            }
        }
    }
    double mean(const std::vector<std::size_t>& of, double otherwise) const {
        if (of.empty()) {
            return otherwise;
        }
        return std::accumulate(
                   of.begin(), of.end(), 0.0,
                   [this](double sum, std::size_t each) { return sum + _places[each].middle; }) /
               static_cast<double>(of.size());
    }

    void align() {
        for (const auto& layer : _layers) {
            spread(layer);
        }
        for (int sweep = 0; sweep < 24; ++sweep) {
            for (std::size_t i = 0; i < _layers.size(); ++i) {
                const auto& layer = _layers[sweep % 2 == 0 ? i : _layers.size() - 1 - i];
                for (const std::size_t each : layer) {
                    place& of = _places[each];
                    const double from = mean(of.before, of.middle);
                    const double to = mean(of.behind, of.middle);
                    of.middle = of.before.empty() ? to : of.behind.empty() ? from : (from + to) / 2;
                }
                spread(layer);
            }
        }
    }

    double apart(std::size_t above, std::size_t below) const {
        return (_places[above].height + _places[below].height) / 2 + box_gap;
    }
    // Keeps the places of a layer apart and near where they are: halfway between what pushing
    // all down and pushing all up would give.
    void spread(const std::vector<std::size_t>& layer) {
        std::vector<double> down(layer.size());
        std::vector<double> up(layer.size());
        for (std::size_t i = 0; i < layer.size(); ++i) {
            down[i] = _places[layer[i]].middle;
            if (i != 0) {
                down[i] = std::max(down[i], down[i - 1] + apart(layer[i - 1], layer[i]));
            }
        }
        for (std::size_t i = layer.size(); i-- != 0;) {
            up[i] = _places[layer[i]].middle;
            if (i + 1 != layer.size()) {
                up[i] = std::min(up[i], up[i + 1] - apart(layer[i], layer[i + 1]));
            }
        }
        for (std::size_t i = 0; i < layer.size(); ++i) {
            _places[layer[i]].middle = (down[i] + up[i]) / 2;
        }
    }

    // As wide as the legend at least, with the graph in its middle.
    void keep_apart() {
        double left = 0;
        for (std::size_t i = 0; i < _layers.size(); ++i) {
            _left.push_back(left);
            std::size_t edges = 0;
            for (const std::size_t each : _layers[i]) {
                edges += _places[each].behind.size();
            }
            const std::size_t next = i + 1 < _layers.size() ? _layers[i + 1].size() : 0;
            const bool crowded = edges > std::max(_layers[i].size(), next);
            left += picture::box_width + (crowded ? wide_gap : layer_gap);
        }
        const double width = _left.back() + picture::box_width;
        _into.width = std::max(width, legend_width);
        for (double& each : _left) {
            each += (_into.width - width) / 2;
        }
    }
    double left(std::size_t which) const { return _left[_places[which].layer]; }

    void store() {
        double top = 0;
        double bottom = 0;
        for (const place& each : _places) {
            top = std::min(top, each.middle - each.height / 2);
        }
        for (place& each : _places) {
            each.middle -= top;
            bottom = std::max(bottom, each.middle + each.height / 2);
        }
        for (std::size_t i = 0; i < _into.stages.size(); ++i) {
            _into.stages[i].at = {left(i), _places[i].middle - picture::box_height / 2};
        }
        for (std::size_t i = 0; i < _into.edges.size(); ++i) {
            drawn_edge& edge = _into.edges[i];
            edge.through.push_back({left(edge.from) + picture::box_width, port(i, edge.from)});
            if (edge.fed_back) {
                bottom += back_gap;
                edge.through.push_back({left(edge.from) + picture::box_width, bottom});
                edge.through.push_back({left(edge.to), bottom});
            }
            for (const std::size_t each : _passing[i]) {
                edge.through.push_back({left(each), _places[each].middle});
                edge.through.push_back({left(each) + picture::box_width, _places[each].middle});
            }
            edge.through.push_back({left(edge.to), port(i, edge.to)});
        }
        _into.height = bottom + legend_height;
        place_labels();
    }

    /// Where a curve is after a part `t` of it; the picture draws the same ones.
    static point along(point from, point to, double t) {
        const double x = 1.5 * t * (1 - t) + t * t * t;
        const double y = t * t * (3 - 2 * t);
        return {from.x + (to.x - from.x) * x, from.y + (to.y - from.y) * y};
    }
    /// How much of two labels lies over one another.
    static double overlap(point a, point b) {
        return std::max(0.0, picture::label_width + label_gap - std::abs(a.x - b.x)) *
               std::max(0.0, picture::label_height + label_gap - std::abs(a.y - b.y));
    }
    // In the middle of their edges, or as near to it as there is room between the boxes and the
    // other labels, which move again once all have been placed.
    void place_labels() {
        for (int sweep = 0; sweep < 3; ++sweep) {
            for (std::size_t i = 0; i < _into.edges.size(); ++i) {
                place_label(i, sweep == 0 ? i : _into.edges.size());
            }
        }
    }
    /// others  so many labels have a place
    void place_label(std::size_t index, std::size_t others) {
        drawn_edge& edge = _into.edges[index];
        const std::size_t half = edge.through.size() / 2;
        const point from = edge.through[half - 1];
        const point to = edge.through[half];
        const double room = std::abs(to.x - from.x) / 2 - picture::label_width / 2 - label_gap;
        double least = std::numeric_limits<double>::max();
        for (int step = 0; step <= 32; ++step) {
            const int away = step % 2 == 0 ? step / 2 : -(step + 1) / 2;
            const point here = along(from, to, 0.5 + 0.025 * away);
            double covered = 0;
            for (std::size_t i = 0; i < others; ++i) {
                covered += i == index ? 0 : overlap(here, _into.edges[i].label);
            }
            if (covered < least && std::abs(here.x - (from.x + to.x) / 2) <= room) {
                least = covered;
                edge.label = here;
            }
        }
    }

    // Where an edge meets a box: edges of one side spread over it, in the order of what they
    // come from or go to, those that go back lowest.
    double port(std::size_t which, std::size_t box) const {
        const bool leaves = _into.edges[which].from == box && _into.edges[which].to != box;
        const auto far = [&](std::size_t i) {
            const drawn_edge& edge = _into.edges[i];
            const std::size_t end = _passing[i].empty() ? (leaves ? edge.to : edge.from)
                                    : leaves            ? _passing[i].front()
                                                        : _passing[i].back();
            return edge.fed_back ? 1e9 : _places[end].middle;
        };
        std::size_t count = 0;
        std::size_t rank = 0;
        for (std::size_t i = 0; i < _into.edges.size(); ++i) {
            const drawn_edge& edge = _into.edges[i];
            if ((leaves ? edge.from : edge.to) == box) {
                ++count;
                rank += std::pair(far(i), i) < std::pair(far(which), which) ? 1 : 0;
            }
        }
        const double step = std::min(22.0, picture::box_height * 0.75 / static_cast<double>(count));
        return _places[box].middle +
               (static_cast<double>(rank) - static_cast<double>(count - 1) / 2) * step;
    }

    picture& _into;
    std::vector<place> _places;                      // the stages, then those of passing edges
    std::vector<std::vector<std::size_t>> _passing;  // by edge
    std::vector<std::vector<std::size_t>> _layers;   // from top to bottom
    std::vector<double> _left;                       // of each layer
};

/// Calls `visit(ring, parts)` for each ring that the stream lies in. Of a ring that is dealt out
/// the reader has a part; whatever else lies between makes it look at all of it.
template <typename Visit>
void visit_rings(const stream& read, std::size_t parts, const Visit& visit) {
    if (read.kind == stream::form::ring) {
        visit(read, parts);
    }
    for (const stream_ptr& each : read.of) {
        visit_rings(*each, read.kind == stream::form::part ? read.deal.parts : 1, visit);
    }
}

}  // namespace

picture draw(const plan& laid, std::string title) {
    picture made{.title = readable(title)};
    for (unsigned i = 0; i < laid.stages.size(); ++i) {
        const stage_plan& each = laid.stages[i];
        made.stages.push_back({.name = readable(each.name),
                               .kind = each.kind,
                               .shard = each.shard,
                               .copy = each.copy,
                               .capacity = each.out == nullptr ? 0 : each.capacity});
        if (each.shard < laid.cpus.size()) {
            made.stages.back().cpu = laid.cpus[each.shard];
        }
        made.shards +=
            std::ranges::count(made.stages, each.shard, &drawn_stage::shard) == 1 ? 1 : 0;
        std::vector<drawn_edge> read;
        if (each.in) {
            visit_rings(*each.in, 1, [&](const stream& ring, std::size_t parts) {
                if (std::ranges::find(read, ring.stage, &drawn_edge::from) == read.end()) {
                    // Stages are in the order of the stream: only a loop reads what comes behind
                    // it.
                    const std::size_t capacity = laid.stages[ring.stage].capacity / parts;
                    read.push_back({.from = ring.stage,
                                    .to = i,
                                    .capacity = std::max<std::size_t>(capacity, 1),
                                    .fed_back = ring.stage >= i});
                }
            });
        }
        std::ranges::sort(read, {}, &drawn_edge::from);
        made.edges.insert(made.edges.end(), read.begin(), read.end());
    }
    layout(made).run();
    return made;
}

}  // namespace weir::pipeline
