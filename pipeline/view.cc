// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/view.hh>

#include <algorithm>
#include <array>
#include <utility>

#include <weir/core/shard.hh>

namespace weir::pipeline {

namespace {

using views = std::vector<std::unique_ptr<view>>;

void leave_all(const views& all) noexcept {
    for (const auto& each : all) {
        each->leave();
    }
}

/// Some columns of another view.
class slice_view final : public view {
  public:
    slice_view(std::unique_ptr<view> of, std::size_t first, std::size_t columns)
        : view(columns), _of(std::move(of)), _first(first), _lanes(_of->columns()) {}

    std::size_t ready(std::size_t max) override { return _of->ready(max); }
    std::size_t refresh(std::size_t max) override { return _of->refresh(max); }
    void gather(std::size_t n, lane* into) override {
        _of->gather(n, _lanes.data());
        std::copy_n(_lanes.data() + _first, columns(), into);
    }
    void release(std::size_t n) override { _of->release(n); }
    bool ended() override { return _of->ended(); }
    std::exception_ptr failure() override { return _of->failure(); }
    void leave() noexcept override { _of->leave(); }

  private:
    const std::unique_ptr<view> _of;
    const std::size_t _first;
    std::vector<lane> _lanes;
};

/// Two streams side by side, element by element.
class zip_view final : public view {
  public:
    zip_view(std::unique_ptr<view> left, std::unique_ptr<view> right)
        : view(left->columns() + right->columns()),
          _left(std::move(left)),
          _right(std::move(right)) {}

    std::size_t ready(std::size_t max) override {
        // Both are asked, whatever the first says: a side may have to pass over elements of the
        // ring that the other one waits for.
        const std::size_t left = _left->ready(max);
        return std::min(left, _right->ready(max));
    }
    std::size_t refresh(std::size_t max) override {
        return std::min(_left->refresh(max), _right->refresh(max));
    }
    void gather(std::size_t n, lane* into) override {
        _left->gather(n, into);
        _right->gather(n, into + _left->columns());
    }
    void release(std::size_t n) override {
        _left->release(n);
        _right->release(n);
    }
    // The shorter side ends the zip, the left one if they are equally long: so it is decided only
    // when the left side has ended, or has an element that the right side lacks.
    bool ended() override { return _left->ended() || (_left->ready(1) != 0 && _right->ended()); }
    std::exception_ptr failure() override {
        return _left->ended() ? _left->failure() : _right->failure();
    }
    void leave() noexcept override {
        _left->leave();
        _right->leave();
    }

  private:
    const std::unique_ptr<view> _left;
    const std::unique_ptr<view> _right;
};

/// Some of the elements of another view, which it looks through in order: those of one tag, or
/// those that are dealt to one part where the ring itself can't be strided.
class picking_view : public view {
  public:
    picking_view(std::unique_ptr<view> of, std::size_t first, std::size_t columns)
        : view(columns),
          _of(std::move(of)),
          _first(first),
          _lanes(_of->columns()),
          _picked(columns * max_batch) {}

    std::size_t ready(std::size_t max) override {
        for (;;) {
            const std::size_t seen = _of->ready(max_batch);
            if (seen == 0) {
                return 0;
            }
            _of->gather(seen, _lanes.data());
            _count = 0;
            for (std::size_t i = 0; i < seen && _count < max; ++i) {
                if (mine(i, _lanes.data())) {
                    _at[_count++] = static_cast<std::uint16_t>(i);
                }
            }
            if (_count != 0) {
                return _count;
            }
            skip(seen);
            if (need_preempt()) {
                return 0;  // and the stage, which sees that too, comes back
            }
        }
    }
    void gather(std::size_t n, lane* into) override {
        for (std::size_t column = 0; column < columns(); ++column) {
            const std::byte** const picked = _picked.data() + column * max_batch;
            for (std::size_t i = 0; i < n; ++i) {
                picked[i] = _lanes[_first + column].at(_at[i]);
            }
            into[column] = {nullptr, 0, picked};
        }
    }
    void release(std::size_t n) override {
        if (n != 0) {
            skip(_at[n - 1] + std::size_t{1});
            _count = 0;
        }
    }
    bool ended() override { return _of->ended(); }
    std::exception_ptr failure() override { return _of->failure(); }
    void leave() noexcept override { _of->leave(); }

  protected:
    /// Whether the i-th element from the first that was not released is ours.
    virtual bool mine(std::size_t i, const lane* lanes) const noexcept = 0;
    virtual void skipped(std::size_t) noexcept {}

  private:
    void skip(std::size_t n) {
        _of->release(n);
        skipped(n);
    }

    const std::unique_ptr<view> _of;
    const std::size_t _first;
    std::vector<lane> _lanes;
    std::vector<const std::byte*> _picked;
    std::array<std::uint16_t, max_batch> _at{};  // places of our elements among those seen
    std::size_t _count = 0;
};

class branch_view final : public picking_view {
  public:
    branch_view(std::unique_ptr<view> of, std::size_t first, std::size_t columns, std::size_t which)
        : picking_view(std::move(of), first, columns), _which(which) {}

  protected:
    bool mine(std::size_t i, const lane* lanes) const noexcept override {
        return shape<tag>::load(lanes, i) == _which;
    }

  private:
    const std::size_t _which;
};

class part_view final : public picking_view {
  public:
    part_view(std::unique_ptr<view> of, std::size_t columns, dealing deal, std::size_t which)
        : picking_view(std::move(of), 0, columns), _deal(deal), _which(which) {}

  protected:
    bool mine(std::size_t i, const lane*) const noexcept override {
        return (_position + i) / _deal.block % _deal.parts == _which;
    }
    void skipped(std::size_t n) noexcept override { _position += n; }

  private:
    const dealing _deal;
    const std::size_t _which;
    std::size_t _position = 0;
};

/// Where elements of several streams lie that are taken in turns.
class joined_lanes {
  public:
    joined_lanes(const views& of, std::size_t columns) : _picked(columns * max_batch) {
        for (const auto& each : of) {
            _of.emplace_back(each->columns());
        }
    }
    /// The lanes of a stream, for it to say where its elements lie.
    lane* of(std::size_t stream) noexcept { return _of[stream].data(); }
    /// The i-th element of all is the n-th of `stream`, whose columns begin at `offset`.
    void pick(std::size_t i, std::size_t stream, std::size_t n, std::size_t offset) noexcept {
        const std::vector<lane>& from = _of[stream];
        for (std::size_t column = 0; column < from.size(); ++column) {
            _picked[(offset + column) * max_batch + i] = from[column].at(n);
        }
    }
    /// The lane of a column of all.
    lane at(std::size_t column) const noexcept {
        return {nullptr, 0, _picked.data() + column * max_batch};
    }

  private:
    std::vector<std::vector<lane>> _of;
    std::vector<const std::byte*> _picked;
};

/// The parts of a stream that was dealt out, in their order again.
class dealt_view final : public view {
  public:
    dealt_view(views of, std::size_t columns, dealing deal)
        : view(columns), _of(std::move(of)), _deal(deal), _lanes(_of, columns) {}

    std::size_t ready(std::size_t max) override {
        max = std::min(max, _deal.side_by_side(_position, max));
        std::size_t count = max;
        // All are asked, whatever the first ones say: one that isn't next may have to pass over
        // elements of a ring that the one that is next waits for.
        for (std::size_t part = 0; part < _of.size(); ++part) {
            const std::size_t before = _deal.before(part, _position);
            const std::size_t wanted = _deal.before(part, _position + max) - before;
            const std::size_t there = _of[part]->ready(std::max<std::size_t>(wanted, 1));
            if (there < wanted) {
                count = std::min(count, _deal.place(part, before + there) - _position);
            }
        }
        return count;
    }
    void gather(std::size_t n, lane* into) override {
        if (n <= _deal.block - _position % _deal.block) {
            _of[next_part()]->gather(n, into);
            return;
        }
        for (std::size_t part = 0; part < _of.size(); ++part) {
            const std::size_t before = _deal.before(part, _position);
            const std::size_t count = _deal.before(part, _position + n) - before;
            if (count == 0) {
                continue;
            }
            _of[part]->gather(count, _lanes.of(part));
            std::size_t at = _deal.place(part, before);
            std::size_t left = _deal.block - at % _deal.block;
            for (std::size_t i = 0; i < count; ++i) {
                _lanes.pick(at - _position, part, i, 0);
                ++at;
                if (--left == 0) {
                    at += (_deal.parts - 1) * _deal.block;
                    left = _deal.block;
                }
            }
        }
        for (std::size_t column = 0; column < columns(); ++column) {
            into[column] = _lanes.at(column);
        }
    }
    void release(std::size_t n) override {
        for (std::size_t part = 0; part < _of.size(); ++part) {
            const std::size_t count =
                _deal.before(part, _position + n) - _deal.before(part, _position);
            if (count != 0) {
                _of[part]->release(count);
            }
        }
        _position = (_position + n) % (_deal.block * _deal.parts);
    }
    bool ended() override { return _of[next_part()]->ended(); }
    std::exception_ptr failure() override { return _of[next_part()]->failure(); }
    void leave() noexcept override { leave_all(_of); }

  private:
    std::size_t next_part() const noexcept { return _position / _deal.block; }

    const views _of;
    const dealing _deal;
    std::size_t _position = 0;  // of the next element, in its round
    joined_lanes _lanes;
};

/// Branches in the order of their tags.
class merge_view final : public view {
  public:
    /// offsets  the column where each branch's columns begin, after that of the tag if it is kept
    merge_view(std::unique_ptr<view> tags, views of, std::vector<std::size_t> offsets,
               std::size_t columns, bool tagged)
        : view(columns),
          _tags(std::move(tags)),
          _of(std::move(of)),
          _offsets(std::move(offsets)),
          _tagged(tagged),
          _available(_of.size()),
          _used(_of.size()),
          _tag_lanes(_tags->columns()),
          _lanes(_of, columns) {}

    std::size_t ready(std::size_t max) override {
        const std::size_t tags = _tags->ready(max);
        if (tags != 0) {
            _tags->gather(tags, _tag_lanes.data());
        }
        std::ranges::fill(_used, 0);
        std::ranges::fill(_available, unknown);
        for (std::size_t i = 0; i < tags; ++i) {
            const std::size_t from = branch(i);
            if (_available[from] == unknown) {
                _available[from] = _of[from]->ready(tags);
            }
            if (_used[from]++ == _available[from]) {
                return i == 0 ? none() : i;
            }
        }
        return tags == 0 ? none() : tags;
    }
    void gather(std::size_t n, lane* into) override {
        count(n);
        for (std::size_t i = 0; i < _of.size(); ++i) {
            if (_used[i] != 0) {
                _of[i]->gather(_used[i], _lanes.of(i));
            }
        }
        std::ranges::fill(_used, 0);
        for (std::size_t i = 0; i < n; ++i) {
            const std::size_t from = branch(i);
            _lanes.pick(i, from, _used[from]++, _offsets[from]);
        }
        for (std::size_t column = 0; column < columns(); ++column) {
            into[column] = _lanes.at(column);
        }
        if (_tagged) {
            into[0] = _tag_lanes[0];
        }
    }
    void release(std::size_t n) override {
        count(n);
        for (std::size_t i = 0; i < _of.size(); ++i) {
            if (_used[i] != 0) {
                _of[i]->release(_used[i]);
            }
        }
        _tags->release(n);
    }
    bool ended() override { return _tags->ended() || (next_tagged() && _of[branch(0)]->ended()); }
    std::exception_ptr failure() override {
        return _tags->ended() ? _tags->failure() : _of[branch(0)]->failure();
    }
    void leave() noexcept override {
        _tags->leave();
        leave_all(_of);
    }

  private:
    static constexpr std::size_t unknown = ~std::size_t{0};

    /// Which branch the i-th element from here on comes from.
    std::size_t branch(std::size_t i) const noexcept {
        return shape<tag>::load(_tag_lanes.data(), i);
    }
    /// Notes how many of the next `n` elements come from each branch.
    void count(std::size_t n) {
        std::ranges::fill(_used, 0);
        for (std::size_t i = 0; i < n; ++i) {
            ++_used[branch(i)];
        }
    }
    /// Nothing is there: asks every branch, since one that isn't next may have to pass over
    /// elements of a ring that the one that is next waits for.
    std::size_t none() {
        for (const auto& each : _of) {
            each->ready(1);
        }
        return 0;
    }
    bool next_tagged() {
        if (_tags->ready(1) == 0) {
            return false;
        }
        _tags->gather(1, _tag_lanes.data());
        return true;
    }

    const std::unique_ptr<view> _tags;
    const views _of;
    const std::vector<std::size_t> _offsets;
    const bool _tagged;
    std::vector<std::size_t> _available;
    std::vector<std::size_t> _used;
    std::vector<lane> _tag_lanes;
    joined_lanes _lanes;
};

/// Some elements of its own, then another stream.
class delayed_view final : public view {
  public:
    delayed_view(std::unique_ptr<view> of, std::size_t initial, const std::byte* const* values,
                 std::vector<std::size_t> sizes)
        : view(of->columns()),
          _of(std::move(of)),
          _initial(initial),
          _values(values),
          _sizes(std::move(sizes)) {}

    std::size_t ready(std::size_t max) override {
        return _given < _initial ? std::min(max, _initial - _given) : _of->ready(max);
    }
    void gather(std::size_t n, lane* into) override {
        if (_given == _initial) {
            _of->gather(n, into);
            return;
        }
        for (std::size_t column = 0; column < columns(); ++column) {
            into[column] = {_values[column] + _given * _sizes[column], _sizes[column], nullptr};
        }
    }
    void release(std::size_t n) override {
        if (_given < _initial) {
            _given += n;
        } else {
            _of->release(n);
        }
    }
    bool ended() override { return _given == _initial && _of->ended(); }
    std::exception_ptr failure() override { return _of->failure(); }
    void leave() noexcept override { _of->leave(); }

  private:
    const std::unique_ptr<view> _of;
    const std::size_t _initial;
    const std::byte* const* const _values;
    const std::vector<std::size_t> _sizes;
    std::size_t _given = 0;
};

std::unique_ptr<view> make_leaf(const stream& ring, std::size_t first, std::size_t columns,
                                dealing deal, std::size_t which, const view_context& context) {
    auto leaf = std::make_unique<ring_view>(context.ring(ring.stage), first, columns, deal, which);
    context.found(*leaf, ring.stage);
    return leaf;
}

views make_views(const stream& described, std::size_t from, const view_context& context) {
    views made;
    for (std::size_t i = from; i < described.of.size(); ++i) {
        made.push_back(make_view(*described.of[i], context));
    }
    return made;
}

std::unique_ptr<view> make_merge(const stream& described, const view_context& context) {
    std::vector<std::size_t> offsets;
    std::size_t next = described.tagged ? 1 : 0;
    for (std::size_t i = 1; i < described.of.size(); ++i) {
        offsets.push_back(next);
        next += described.tagged ? described.of[i]->columns : 0;
    }
    return std::make_unique<merge_view>(make_view(*described.of[0], context),
                                        make_views(described, 1, context), std::move(offsets),
                                        described.columns, described.tagged);
}

}  // namespace

std::unique_ptr<view> make_view(const stream& described, const view_context& context) {
    using form = stream::form;
    switch (described.kind) {
        case form::ring:
            return make_leaf(described, 0, described.columns, {}, 0, context);
        case form::slice:
            if (described.of[0]->kind == form::ring) {
                return make_leaf(*described.of[0], described.first, described.columns, {}, 0,
                                 context);
            }
            return std::make_unique<slice_view>(make_view(*described.of[0], context),
                                                described.first, described.columns);
        case form::zip:
            return std::make_unique<zip_view>(make_view(*described.of[0], context),
                                              make_view(*described.of[1], context));
        case form::part:
            if (described.of[0]->kind == form::ring) {
                return make_leaf(*described.of[0], 0, described.columns, described.deal,
                                 described.which, context);
            }
            return std::make_unique<part_view>(make_view(*described.of[0], context),
                                               described.columns, described.deal, described.which);
        case form::dealt:
            return std::make_unique<dealt_view>(make_views(described, 0, context),
                                                described.columns, described.deal);
        case form::branch:
            return std::make_unique<branch_view>(make_view(*described.of[0], context),
                                                 described.first, described.columns,
                                                 described.which);
        case form::merge:
            return make_merge(described, context);
        case form::delayed:
            return std::make_unique<delayed_view>(make_view(*described.of[0], context),
                                                  described.initial, described.values,
                                                  described.sizes);
    }
    __builtin_unreachable();
}

}  // namespace weir::pipeline
