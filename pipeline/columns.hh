// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include <weir/pipeline/element.hh>

namespace weir::pipeline {

/// Raw memory for elements of one type, column by column, each aligned to its own lines. Whoever
/// has it knows which slots hold elements.
class columns {
  public:
    /// count    elements, at least one
    /// cost     touches nothing: it will lie near whoever writes it first
    columns(const element_type& type, std::size_t count);

    const element_type& type() const noexcept { return _type; }
    /// Where slot 0 of column `at` lies.
    std::byte* base(std::size_t at) const noexcept { return _memory[at].get(); }
    /// Says where slot `first` and those after it lie.
    /// into     a lane for each column
    void slots(std::size_t first, slot_lane* into) const noexcept;

  private:
    struct deallocate {
        std::size_t alignment;
        void operator()(std::byte* memory) const noexcept;
    };
    const element_type& _type;
    std::vector<std::unique_ptr<std::byte, deallocate>> _memory;
};

}  // namespace weir::pipeline
