// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/joined_view.hh>

#include <algorithm>
#include <utility>

namespace weir::pipeline {

namespace {

void leave_all(const views& all) noexcept {
    for (const auto& each : all) {
        each->leave();
    }
}

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

    std::size_t see(std::size_t max, bool fresh) override {
        // Who wants all that there is looks past the end of a block.
        max = fresh ? max : _deal.side_by_side(_position, max);
        std::size_t count = max;
        // All are asked, whatever the first ones say: one that isn't next may have to pass over
        // elements of a ring that the one that is next waits for.
        for (std::size_t part = 0; part < _of.size(); ++part) {
            const std::size_t before = _deal.before(part, _position);
            const std::size_t wanted = _deal.before(part, _position + max) - before;
            const std::size_t there = _of[part]->see(std::max<std::size_t>(wanted, 1), fresh);
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
class merged_view final : public view {
  public:
    merged_view(std::unique_ptr<view> tags, views of, std::vector<std::size_t> offsets,
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

    std::size_t see(std::size_t max, bool fresh) override {
        const std::size_t tags = _tags->see(max, fresh);
        if (tags != 0) {
            _tags->gather(tags, _tag_lanes.data());
        }
        // All are asked, whatever comes next: a branch that isn't next may have to pass over
        // elements of a ring that others wait for, be it the one that is next, or the stage that
        // reads us and writes that ring in a loop.
        for (std::size_t i = 0; i < _of.size(); ++i) {
            _available[i] = _of[i]->see(std::max<std::size_t>(tags, 1), fresh);
        }
        std::ranges::fill(_used, 0);
        for (std::size_t i = 0; i < tags; ++i) {
            const std::size_t from = branch(i);
            if (_used[from]++ == _available[from]) {
                return i;
            }
        }
        return tags;
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

}  // namespace

std::unique_ptr<view> make_dealt_view(views parts, std::size_t columns, dealing deal) {
    return std::make_unique<dealt_view>(std::move(parts), columns, deal);
}

std::unique_ptr<view> make_merged_view(std::unique_ptr<view> tags, views branches,
                                       std::vector<std::size_t> offsets, std::size_t columns,
                                       bool tagged) {
    return std::make_unique<merged_view>(std::move(tags), std::move(branches), std::move(offsets),
                                         columns, tagged);
}

}  // namespace weir::pipeline
