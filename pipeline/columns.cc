// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/columns.hh>

#include <algorithm>
#include <new>

#include <weir/core/sequence.hh>

namespace weir::pipeline {

columns::columns(const element_type& type, std::size_t count) : _type(type) {
    _memory.reserve(type.columns.size());
    for (const column_type& each : type.columns) {
        const std::size_t alignment = std::max(each.alignment, line_pair);
        auto* memory =
            static_cast<std::byte*>(::operator new(count * each.size, std::align_val_t(alignment)));
        _memory.emplace_back(memory, deallocate{alignment});
    }
}

void columns::slots(std::size_t first, slot_lane* into) const noexcept {
    for (std::size_t i = 0; i < _memory.size(); ++i) {
        const std::size_t size = _type.columns[i].size;
        into[i] = {_memory[i].get() + first * size, size};
    }
}

void columns::deallocate::operator()(std::byte* memory) const noexcept {
    ::operator delete(memory, std::align_val_t(alignment));
}

}  // namespace weir::pipeline
