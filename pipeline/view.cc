// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/view.hh>

#include <algorithm>
#include <array>
#include <utility>

#include <weir/core/shard.hh>
#include <weir/pipeline/joined_view.hh>

namespace weir::pipeline {

namespace {

/// Some columns of another view.
class slice_view final : public view {
  public:
    slice_view(std::unique_ptr<view> of, std::size_t first, std::size_t columns)
        : view(columns), _of(std::move(of)), _first(first), _lanes(_of->columns()) {}

    std::size_t see(std::size_t max, bool fresh) override { return _of->see(max, fresh); }
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

    std::size_t see(std::size_t max, bool fresh) override {
        // Both are asked, whatever the first says: a side may have to pass over elements of the
        // ring that the other one waits for.
        const std::size_t left = _left->see(max, fresh);
        return std::min(left, _right->see(max, fresh));
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

    std::size_t see(std::size_t max, bool fresh) override {
        for (;;) {
            const std::size_t seen = _of->see(max_batch, fresh);
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
            if (_count != 0 && _at[0] == 0) {
                return _count;
            }
            // What lies before ours is passed over now, not with ours: in a loop the stage that
            // waits for it to go may be the one that ours waits for.
            skip(_count != 0 ? _at[0] : seen);
            if (_count == 0 && need_preempt()) {
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

    std::size_t see(std::size_t max, bool fresh) override {
        return _given < _initial ? std::min(max, _initial - _given) : _of->see(max, fresh);
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
    return make_merged_view(make_view(*described.of[0], context), make_views(described, 1, context),
                            std::move(offsets), described.columns, described.tagged);
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
            return make_dealt_view(make_views(described, 0, context), described.columns,
                                   described.deal);
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
