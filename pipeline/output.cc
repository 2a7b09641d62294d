// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/output.hh>

#include <algorithm>
#include <utility>

namespace weir::pipeline {

output::output(const element_type& type, std::size_t capacity, std::size_t readers)
    : _columns(type, capacity), _scratch(type.columns.size()), _order(capacity, readers) {
    _wanting.reserve(readers);
}

output::~output() {
    destroy(_order.held());
}

std::size_t output::claim(std::size_t n, slot_lane* into) {
    const sequence next = _order.cursor() + 1 + static_cast<sequence>(_order.claimed());
    const std::size_t to_wrap = capacity() - (static_cast<std::size_t>(next) & (capacity() - 1));
    const sequence_range range =
        _order.claim(std::min(n, to_wrap), [this](sequence_range freed) { destroy(freed); });
    lanes(range.first, into);
    return range.count;
}

void output::slot(std::size_t offset, slot_lane* into) const noexcept {
    lanes(_order.cursor() + 1 + static_cast<sequence>(offset), into);
}

void output::drop(std::size_t offset) noexcept {
    destroy({_order.cursor() + 1 + static_cast<sequence>(offset), 1});
}

void output::lanes(sequence at, slot_lane* into) const noexcept {
    _columns.slots(static_cast<std::size_t>(at) & (capacity() - 1), into);
}

void output::destroy(sequence_range range) noexcept {
    if (type().destroy == nullptr) {
        return;
    }
    while (!range.empty()) {
        const std::size_t to_wrap =
            capacity() - (static_cast<std::size_t>(range.first) & (capacity() - 1));
        const std::size_t count = std::min(range.count, to_wrap);
        lanes(range.first, _scratch.data());
        type().destroy(_scratch.data(), count);
        range = {range.first + static_cast<sequence>(count), range.count - count};
    }
}

void output::close(std::exception_ptr failure) noexcept {
    _failure = std::move(failure);
    _order.close();
    // Pairs with the acquire in ended(): whoever sees it sees the end and the failure.
    _closed.store(true, std::memory_order_release);
}

void output::reclaim() noexcept {
    _order.reclaim([this](sequence_range freed) { destroy(freed); });
}

void output::print(std::size_t count, std::string_view separator, std::string& into) const {
    const sequence_range held = _order.held();
    std::vector<slot_lane> slots(type().columns.size());
    std::vector<lane> from;
    count = std::min(count, held.count);
    for (sequence at = held.end() - static_cast<sequence>(count); at < held.end(); ++at) {
        lanes(at, slots.data());
        from.clear();
        for (const slot_lane& each : slots) {
            from.push_back({each.base, each.size, nullptr});
        }
        into += at == held.end() - static_cast<sequence>(count) ? std::string_view() : separator;
        type().print(from.data(), 0, into);
    }
}

bool output::abandoned() noexcept {
    // Looking at gates costs a line of the reader's each: only when one of them has left.
    if (_order.gates() != _gates_seen) {
        std::erase_if(_wanting, [](const ring_gate* each) { return !each->joined(); });
        _gates_seen = _order.gates();
    }
    return _wanting.empty();
}

void output::join(ring_gate& reader, bool fed_back) {
    const bool joined = _order.join(reader, 0, [this](sequence_range freed) { destroy(freed); });
    WEIR_ASSERT(joined);
    _gates_seen = _order.gates();
    if (!fed_back) {
        _wanting.push_back(&reader);
    }
}

}  // namespace weir::pipeline
