// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <weir/core/assert.hh>
#include <weir/pipeline/view.hh>

namespace weir::pipeline {

ring_view::ring_view(output& from, std::size_t first_column, std::size_t columns, dealing deal,
                     std::size_t which)
    : view(columns),
      _from(from),
      _capacity(from.capacity()),
      _deal(deal),
      _which(which),
      _next(static_cast<sequence>(which * deal.block)),
      _picked(columns * max_batch) {
    for (std::size_t column = first_column; column < first_column + columns; ++column) {
        _slots.push_back({from.column(column), from.type().columns[column].size});
    }
}

// The sequence of our i-th element from _next on.
sequence ring_view::place(std::size_t i) const noexcept {
    return _deal.parts == 1 ? _next + static_cast<sequence>(i)
                            : static_cast<sequence>(_deal.place(_which, _taken + i));
}

// Of `seen` elements from _next on, how many are ours.
std::size_t ring_view::count_mine(std::size_t seen) const noexcept {
    return _deal.parts == 1 || seen == 0
               ? seen
               : _deal.before(_which, static_cast<std::size_t>(_next) + seen) - _taken;
}

std::size_t ring_view::see(std::size_t max, bool fresh) {
    if (fresh) {
        _shown = std::min(count_mine(_gate.refresh()), max);
    } else {
        // Everything that is seen, not `max` of it: between our elements lie those of others.
        const std::size_t seen = _gate.read(_deal.parts == 1 ? max : _capacity).count;
        _shown =
            std::min(count_mine(seen), _deal.side_by_side(static_cast<std::size_t>(_next), max));
    }
    return _shown;
}

void ring_view::gather(std::size_t n, lane* into) {
    const std::size_t mask = _capacity - 1;
    const std::size_t start = static_cast<std::size_t>(_next) & mask;
    const std::size_t stride = _deal.block == 1 ? _deal.parts : 1;
    const bool even = _deal.parts == 1 || _deal.block == 1 ||
                      static_cast<std::size_t>(_next) % _deal.block + n <= _deal.block;
    for (std::size_t column = 0; column < columns(); ++column) {
        const auto [base, size] = _slots[column];
        if (n == 0 || (even && start + (n - 1) * stride <= mask)) {
            into[column] = {base + start * size, stride * size, nullptr};
            continue;
        }
        const std::byte** const picked = _picked.data() + column * max_batch;
        for (std::size_t i = 0; i < n; ++i) {
            picked[i] = base + (static_cast<std::size_t>(place(i)) & mask) * size;
        }
        into[column] = {nullptr, 0, picked};
    }
}

void ring_view::release(std::size_t n) {
    if (n != 0) {
        WEIR_ASSERT(n <= _shown);
        _shown = 0;
        _next = place(n);
        _taken += n;
        _gate.release_to(_next);
        _moved = true;
    }
}

std::size_t ring_view::queued() const noexcept {
    const sequence cursor = _from.cursor();
    return _left || cursor < _next ? 0 : count_mine(static_cast<std::size_t>(cursor - _next + 1));
}

void ring_view::join(bool fed_back) {
    _from.join(_gate, fed_back);
    // What lies before our first element must not hold the producer back.
    _gate.release_to(_next);
}

bool ring_view::ended() {
    return !_left && _from.ended(_next);
}

void ring_view::leave() noexcept {
    if (!std::exchange(_left, true)) {
        _gate.leave();
    }
}

}  // namespace weir::pipeline
