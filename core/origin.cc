// SPDX-License-Identifier: Apache-2.0
#include <weir/core/origin.hh>

#include <weir/core/backtrace.hh>

namespace weir {

std::string origin::text() const {
    const std::uint32_t offset = _offset & ~is_code;
    if (offset == 0) {
        return {};
    }
    const std::uintptr_t address = reinterpret_cast<std::uintptr_t>(&detail::__ehdr_start) + offset;
    if ((_offset & is_code) != 0) {
        // NOLINTNEXTLINE(performance-no-int-to-ptr): an offset is what there is room for
        return demangled(symbol_of(reinterpret_cast<const void*>(address)).name.data());
    }
    const auto where = std::bit_cast<std::source_location>(address);
    return std::string(where.file_name()) + ":" + std::to_string(where.line()) + ", " +
           where.function_name();
}

}  // namespace weir
