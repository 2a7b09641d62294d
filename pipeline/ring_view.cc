// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <weir/pipeline/view.hh>

namespace weir::pipeline {

ring_view::ring_view(output& from, std::size_t first_column, std::size_t columns, dealing deal,
                     std::size_t which)
    : view(columns),
      _from(from),
      _first_column(first_column),
      _deal(deal),
      _next(static_cast<sequence>(which * deal.block)),
      _picked(columns * max_batch) {}

// The sequence of our i-th element from _next on: within its block side by side, then a round on.
sequence ring_view::place(std::size_t i) const noexcept {
    if (_deal.parts == 1) {
        return _next + static_cast<sequence>(i);
    }
    const auto block = static_cast<sequence>(_deal.block);
    const sequence in_block = _next % block + static_cast<sequence>(i);
    return _next - _next % block + in_block / block * block * static_cast<sequence>(_deal.parts) +
           in_block % block;
}

// Of `seen` elements from _next on, how many are ours, up to `max`.
std::size_t ring_view::count_mine(std::size_t seen, std::size_t max) const noexcept {
    const std::size_t offset = static_cast<std::size_t>(_next) % _deal.block;
    if (_deal.parts == 1 || seen <= _deal.block - offset) {
        return std::min(seen, max);
    }
    const std::size_t round = _deal.block * _deal.parts;
    const std::size_t span = seen + offset;  // from the start of our block on
    const std::size_t mine = span / round * _deal.block + std::min(_deal.block, span % round);
    return std::min(mine - offset, max);
}

std::size_t ring_view::ready(std::size_t max) {
    // Everything that is seen, not `max` of it: between our elements lie those of others.
    return count_mine(_gate.read(_deal.parts == 1 ? max : _from.capacity()).count, max);
}

std::size_t ring_view::refresh(std::size_t max) {
    return count_mine(_gate.refresh(), max);
}

void ring_view::gather(std::size_t n, lane* into) {
    const std::size_t mask = _from.mask();
    const std::size_t start = static_cast<std::size_t>(_next) & mask;
    const std::size_t stride = _deal.block == 1 ? _deal.parts : 1;
    const bool even = _deal.parts == 1 || _deal.block == 1 ||
                      static_cast<std::size_t>(_next) % _deal.block + n <= _deal.block;
    for (std::size_t column = 0; column < columns(); ++column) {
        const std::byte* const base = _from.column(_first_column + column);
        const std::size_t size = _from.type().columns[_first_column + column].size;
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
        _next = place(n);
        _taken += n;
        _gate.release_to(_next);
        _moved = true;
    }
}

std::size_t ring_view::queued() const noexcept {
    const sequence cursor = _from.cursor();
    return _left || cursor < _next
               ? 0
               : count_mine(static_cast<std::size_t>(cursor - _next + 1), _from.capacity());
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
