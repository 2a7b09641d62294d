// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/plan.hh>

#include <algorithm>
#include <bit>
#include <set>
#include <utility>

#include <fmt/format.h>

#include <weir/core/error.hh>

namespace weir::pipeline {

namespace {

using namespace detail;

using form = stream::form;

bool contains(const stream& whole, const stream* searched) {
    return &whole == searched || std::ranges::any_of(whole.of, [&](const stream_ptr& each) {
        return contains(*each, searched);
    });
}

// What picks from what was picked looks through all of it, for each of its sides or parts: chains
// of that grow threefold with each word. So a stage copies what was picked as often as this before.
constexpr unsigned picks_max = 1;

// What a stage may look at, all views together: more is refused, whatever the elements are. Chains
// of what can be copied stay far below it.
constexpr std::size_t rings_max = 4096;

/// returns  how many rings a stage would look at, as often as it does; or more than rings_max
std::size_t rings_of(const stream& read) {
    std::size_t rings = read.kind == form::ring ? 1 : 0;
    for (const stream_ptr& each : read.of) {
        if (rings > rings_max) {
            break;
        }
        rings += rings_of(*each);
    }
    return rings;
}

class planner {
  public:
    planner(plan& into, unsigned shards) : _plan(into), _shards(shards) {}

    void lay_all() {
        const program& what = _plan.what;
        const stream_ptr from = add(
            {.kind = stage_plan::form::source, .name = what.source_name, .out = what.body->in}, 0);
        unsigned turn = 1;
        const stream_ptr to = lay(what.body, from, turn, 0);
        add({.kind = stage_plan::form::sink, .name = what.sink_name, .in = to}, turn);
        check_names();
        check_list();
        if (_plan.options.fuse && what.make_loop) {
            join_all();
        }
        for (std::size_t i = 0; i < _plan.stages.size(); ++i) {
            count_readers(static_cast<unsigned>(i));
        }
    }

  private:
    /// Of a ring: the copies of a sharded stage divide what one would have.
    std::size_t capacity() const {
        return std::bit_ceil((_plan.options.capacity + _split - 1) / _split);
    }

    /// What finds a stage by name: its own name and then its groups', from the innermost on, each
    /// with the groups around it before it alone.
    std::vector<std::string> names_of(const std::string& name) const {
        std::vector<std::string> path = _groups;
        path.push_back(name);
        std::vector<std::string> all;
        for (; !path.empty(); path.pop_back()) {
            all.push_back(fmt::format("{}", fmt::join(path, "/")));
            all.push_back(path.back());
        }
        return all;
    }

    shard_id choose(const std::string& name, unsigned turn, unsigned copy) {
        const placement& where = _plan.options.where;
        const std::vector<std::string> names = names_of(name);
        _names.insert(names.begin(), names.end());
        for (const std::string& each : names) {
            const auto named = where.named.find(each);
            if (named != where.named.end()) {
                return (named->second + copy) % _shards;
            }
        }
        if (where.how == placement::policy::listed) {
            return _number < where.shards.size() ? where.shards[_number] : 0;  // see check_list()
        }
        const unsigned step = where.how == placement::policy::pack ? copy : turn;
        return (where.base.value_or(0) + step) % _shards;
    }

    stream_ptr add(stage_plan added, unsigned turn) {
        if (added.in && rings_of(*added.in) > rings_max) {
            throw error("lay out",
                        fmt::format("{}: more than {} rings to look at; a map before it has one",
                                    added.name, rings_max),
                        errc::malformed);
        }
        added.shard = choose(added.name, turn, added.copy);
        added.name = names_of(added.name).front();
        added.numbers = {_number++};
        const std::size_t minimum = std::bit_ceil(_least_capacity);
        added.capacity = std::max(capacity(), minimum);
        const auto index = static_cast<unsigned>(_plan.stages.size());
        const std::size_t columns = added.out == nullptr ? 0 : added.out->columns.size();
        _plan.stages.push_back(std::move(added));
        _sealed.push_back(false);
        return make({.kind = form::ring, .columns = columns, .stage = index});
    }

    stream_ptr lay(const node_ptr& what, const stream_ptr& in, unsigned& turn, unsigned copy) {
        switch (what->kind) {
            case node::form::id:
                return in;
            case node::form::work:
                return lay_work(what, in, turn, copy);
            case node::form::async:
                return add({.kind = stage_plan::form::async,
                            .name = what->name,
                            .copy = copy,
                            .in = in,
                            .nodes = {what},
                            .out = what->out},
                           turn++);
            case node::form::sequence: {
                const stream_ptr middle = lay(what->of[0], in, turn, copy);
                const stream_ptr end = lay(what->of[1], middle, turn, copy);
                join_kernels(what, *end);
                return end;
            }
            case node::form::both: {
                const std::size_t left = what->of[0]->in->columns.size();
                const std::size_t right = what->of[1]->in->columns.size();
                const stream_ptr first = lay(what->of[0], slice(in, 0, left), turn, copy);
                return zip(first, lay(what->of[1], slice(in, left, right), turn, copy));
            }
            case node::form::fanout: {
                seal(*in);
                const stream_ptr first = lay(what->of[0], in, turn, copy);
                return zip(first, lay(what->of[1], in, turn, copy));
            }
            case node::form::choose:
            case node::form::merge:
                return lay_choice(what, in, turn, copy);
            case node::form::shard:
                return lay_shards(what, in, turn, copy);
            case node::form::key_shard:
                return lay_key_shards(what, in, turn, copy);
            case node::form::loop:
                return lay_loop(what, in, turn, copy);
            case node::form::group: {
                _groups.push_back(what->name);
                stream_ptr out = lay(what->of[0], in, turn, copy);
                _groups.pop_back();
                return out;
            }
        }
        __builtin_unreachable();
    }

    stream_ptr near(const node_ptr& what, const stream_ptr& in, unsigned& turn, unsigned copy) {
        if (in->picks <= picks_max || !what->copier) {
            return in;
        }
        return add(
            {.name = what->name, .copy = copy, .in = in, .nodes = {what->copier}, .out = what->in},
            turn++);
    }

    // A neighbour on the same shard that nobody else reads takes the kernel in.
    stream_ptr lay_work(const node_ptr& what, const stream_ptr& in, unsigned& turn, unsigned copy) {
        if (_plan.options.fuse && what->fuses && in->kind == form::ring && !_sealed[in->stage]) {
            stage_plan& before = _plan.stages[in->stage];
            if (before.kind == stage_plan::form::work && !before.tags && !before.copies &&
                before.nodes.back()->fuses && !before.nodes.back()->holds && before.copy == copy &&
                choose(what->name, turn, copy) == before.shard) {
                before.nodes.push_back(what);
                before.numbers.push_back(_number++);
                before.name += "+" + names_of(what->name).front();
                before.out = what->out;
                ++turn;
                return make(
                    {.kind = form::ring, .columns = what->out->columns.size(), .stage = in->stage});
            }
        }
        return add({.name = what->name, .copy = copy, .in = in, .nodes = {what}, .out = what->out},
                   turn++);
    }

    static const node_ptr& ungrouped(const node_ptr& what) {
        return what->kind == node::form::group ? ungrouped(what->of[0]) : what;
    }

    // Where both halves became one stage, and there is a loop of both, that is its kernel.
    void join_kernels(const node_ptr& what, const stream& end) {
        if (what->make && end.kind == form::ring) {
            std::vector<node_ptr>& nodes = _plan.stages[end.stage].nodes;
            if (nodes.size() >= 2 && nodes[nodes.size() - 2] == ungrouped(what->of[0]) &&
                nodes.back() == ungrouped(what->of[1])) {
                nodes.pop_back();
                nodes.back() = what;
            }
        }
    }

    // One stage for a program that lies on one shard.
    void join_all() {
        stage_plan whole{.kind = stage_plan::form::whole, .shard = _plan.stages[0].shard};
        for (const stage_plan& each : _plan.stages) {
            if (each.shard != whole.shard) {
                return;
            }
            whole.name += (whole.name.empty() ? "" : "+") + each.name;
            whole.numbers.insert(whole.numbers.end(), each.numbers.begin(), each.numbers.end());
        }
        _plan.stages.clear();
        _plan.stages.push_back(std::move(whole));
    }

    stream_ptr lay_choice(const node_ptr& what, const stream_ptr& from, unsigned& turn,
                          unsigned copy) {
        const stream_ptr in = near(what, from, turn, copy);
        seal(*in);
        const bool tagged = what->kind == node::form::choose;
        stream merged{.kind = form::merge,
                      .columns = what->out->columns.size(),
                      .of = {slice(in, 0, 1)},
                      .tagged = tagged};
        std::size_t first = 1;
        for (std::size_t which = 0; which < 2; ++which) {
            const std::size_t columns = what->of[which]->in->columns.size();
            merged.of.push_back(
                lay(what->of[which], branch(in, first, columns, which), turn, copy));
            first += columns;
        }
        return make(std::move(merged));
    }

    // Copy k begins k stages later than the first, so that copies lie on different shards.
    template <typename Input>
    std::vector<stream_ptr> lay_copies(const node_ptr& what, unsigned& turn, unsigned copy,
                                       Input input) {
        const std::size_t split = std::exchange(_split, _split * what->deal.parts);
        std::vector<stream_ptr> outputs;
        unsigned last = turn;
        for (std::size_t k = 0; k < what->deal.parts; ++k) {
            unsigned own = turn + static_cast<unsigned>(k);
            const auto index =
                copy * static_cast<unsigned>(what->deal.parts) + static_cast<unsigned>(k);
            outputs.push_back(lay(what->of[0], input(k), own, index));
            last = std::max(last, own);
        }
        turn = last;
        _split = split;
        return outputs;
    }

    stream_ptr lay_shards(const node_ptr& what, const stream_ptr& from, unsigned& turn,
                          unsigned copy) {
        const stream_ptr in = near(what, from, turn, copy);
        auto outputs =
            lay_copies(what, turn, copy, [&](std::size_t k) { return part(in, what->deal, k); });
        return dealt(std::move(outputs), what->out->columns.size(), what->deal);
    }

    stream_ptr lay_key_shards(const node_ptr& what, const stream_ptr& from, unsigned& turn,
                              unsigned copy) {
        const stream_ptr in = near(what, from, turn, copy);
        seal(*in);
        const stream_ptr tags = add({.name = what->name,
                                     .copy = copy,
                                     .in = in,
                                     .nodes = {what},
                                     .out = &type_of<tag>(),
                                     .tags = true},
                                    turn++);
        const stream_ptr tagged = zip(tags, in);
        stream merged{.kind = form::merge, .columns = what->out->columns.size(), .of = {tags}};
        for (const stream_ptr& each : lay_copies(what, turn, copy, [&](std::size_t k) {
                 return branch(tagged, 1, in->columns, k);
             })) {
            merged.of.push_back(each);
        }
        return make(std::move(merged));
    }

    // The rings of a loop hold what is fed back and at least one element more: the one that is
    // being made while its predecessor is still looked at.
    stream_ptr lay_loop(const node_ptr& what, const stream_ptr& in, unsigned& turn, unsigned copy) {
        seal(*in);
        const std::size_t least =
            std::exchange(_least_capacity, std::max(_least_capacity, what->initial.count + 1));
        const std::size_t fed = what->initial.columns.size();
        auto back = std::make_shared<stream>();
        back->kind = form::delayed;
        back->columns = fed;
        back->initial = what->initial.count;
        back->values = what->initial.columns.data();
        const element_type& inner = *what->of[0]->in;
        for (std::size_t i = 0; i < fed; ++i) {
            back->sizes.push_back(inner.columns[inner.columns.size() - fed + i].size);
        }
        const stream_ptr both = lay(what->of[0], zip(in, back), turn, copy);
        const std::size_t given = what->out->columns.size();
        stream_ptr again = slice(both, given, fed);
        if (contains(*again, back.get())) {
            // What is fed back is what was fed back: someone must hold it meanwhile.
            again = add({.name = what->name,
                         .copy = copy,
                         .in = again,
                         .nodes = {what},
                         .out = what->copied,
                         .copies = true},
                        turn++);
        }
        back->of = {again};
        _least_capacity = least;
        // Not slice(): an element comes out only if what is fed back with it is there as well.
        return make({.kind = form::slice, .columns = given, .of = {both}});
    }

    // Its rings have more than one reader from now on.
    void seal(const stream& shared) {
        visit_rings(shared, [this](const stream& ring) { _sealed[ring.stage] = true; });
    }

    void count_readers(unsigned stage) {
        if (_plan.stages[stage].in) {
            visit_rings(*_plan.stages[stage].in,
                        [&](const stream& ring) { ++_plan.stages[ring.stage].readers; });
        }
    }

    void check_names() const {
        for (const auto& [name, shard] : _plan.options.where.named) {
            const bool known = _names.contains(name);
            if (!known || shard >= _shards) {
                throw error("place",
                            known ? fmt::format("{} on shard {} of {}", name, shard, _shards)
                                  : fmt::format("{}: no stage of that name", name),
                            errc::malformed);
            }
        }
    }

    void check_list() const {
        const placement& where = _plan.options.where;
        if (where.how != placement::policy::listed) {
            return;
        }
        if (where.shards.size() != _number) {
            throw error("place",
                        fmt::format("{} stages by a list of {}", _number, where.shards.size()),
                        errc::malformed);
        }
        for (const shard_id each : where.shards) {
            if (each >= _shards) {
                throw error("place", fmt::format("a listed stage on shard {} of {}", each, _shards),
                            errc::malformed);
            }
        }
    }

    plan& _plan;
    const unsigned _shards;
    unsigned _number = 0;  // of the next stage, before any fuses
    std::size_t _split = 1;
    std::size_t _least_capacity = 1;
    std::vector<bool> _sealed;         // by stage: no kernel may be fused to its end
    std::vector<std::string> _groups;  // around what is laid, from the outermost
    std::set<std::string> _names;
};

}  // namespace

void visit_rings(const stream& read, const std::function<void(const stream&)>& visit) {
    if (read.kind == form::ring) {
        visit(read);
    }
    for (const stream_ptr& each : read.of) {
        visit_rings(*each, visit);
    }
}

namespace {

void check_option(std::string_view name, std::size_t value, std::size_t least, std::size_t most) {
    if (value < least || value > most) {
        throw error("deploy", fmt::format("{} {}, not {} to {}", name, value, least, most),
                    errc::malformed);
    }
}

}  // namespace

plan lay_out(program what, deploy_options options, unsigned shards) {
    check_option("capacity", options.capacity, 1, max_capacity);
    check_option("batch", options.batch, 1, max_batch);
    check_option("base shard", options.where.base.value_or(0), 0, shards - 1);
    plan laid{std::move(what), std::move(options), {}};
    planner(laid, shards).lay_all();
    return laid;
}

}  // namespace weir::pipeline
