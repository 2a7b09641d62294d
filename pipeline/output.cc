// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/output.hh>

#include <algorithm>
#include <new>
#include <utility>

namespace weir::pipeline {

output::output(const element_type& type, std::size_t capacity, std::size_t readers)
    : _type(type), _scratch(type.columns.size()), _order(capacity, readers) {
    for (const column_type& each : type.columns) {
        const std::size_t alignment = std::max(each.alignment, line_pair);
        // Not touched before it is used: it lies near the stage that writes it.
        auto* memory = static_cast<std::byte*>(
            ::operator new(capacity * each.size, std::align_val_t(alignment)));
        _columns.emplace_back(memory, free_column{alignment});
    }
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
    const std::size_t place = static_cast<std::size_t>(at) & (capacity() - 1);
    for (std::size_t i = 0; i < _columns.size(); ++i) {
        const std::size_t size = _type.columns[i].size;
        into[i] = {_columns[i].get() + place * size, size};
    }
}

void output::destroy(sequence_range range) noexcept {
    if (_type.destroy == nullptr) {
        return;
    }
    while (!range.empty()) {
        const std::size_t to_wrap =
            capacity() - (static_cast<std::size_t>(range.first) & (capacity() - 1));
        const std::size_t count = std::min(range.count, to_wrap);
        lanes(range.first, _scratch.data());
        _type.destroy(_scratch.data(), count);
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
    std::vector<slot_lane> slots(_columns.size());
    std::vector<lane> from;
    count = std::min(count, held.count);
    for (sequence at = held.end() - static_cast<sequence>(count); at < held.end(); ++at) {
        lanes(at, slots.data());
        from.clear();
        for (const slot_lane& each : slots) {
            from.push_back({each.base, each.size, nullptr});
        }
        into += at == held.end() - static_cast<sequence>(count) ? std::string_view() : separator;
        _type.print(from.data(), 0, into);
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
