// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <utility>

#include <weir/pipeline/picture.hh>

// Layers, as Sugiyama, Tagawa and Toda draw them: a stage stands one layer behind the last of
// those that it reads, edges that pass layers get a place in each, and places move to the middle
// of what they are joined with. Graphs are small, so the simplest form of each step will do.
namespace weir::pipeline {

namespace {

constexpr double layer_gap = 190;
constexpr double box_gap = 34;
constexpr double lane_height = 44;  // of an edge that passes a layer, with its label
constexpr double back_gap = 46;     // below all, for edges that go back

class layout {
  public:
    explicit layout(picture& into) : _into(into), _places(into.stages.size()) {}

    void run() {
        assign_layers();
        split_edges();
        order_layers();
        align();
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

    double left(std::size_t which) const {
        return static_cast<double>(_places[which].layer) * (picture::box_width + layer_gap);
    }

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
            _into.width = std::max(_into.width, left(i) + picture::box_width);
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
        _into.height = bottom + (bottom > 0 ? 4 : 0);
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
};

/// Calls `visit(ring, parts)` for each ring that the stream lies in, of which it may be a part.
template <typename Visit>
void visit_rings(const stream& read, std::size_t parts, const Visit& visit) {
    if (read.kind == stream::form::ring) {
        visit(read, parts);
    }
    for (const stream_ptr& each : read.of) {
        visit_rings(*each, read.kind == stream::form::part ? parts * read.deal.parts : parts,
                    visit);
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
        made.shards = std::max(made.shards, each.shard + 1);
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
