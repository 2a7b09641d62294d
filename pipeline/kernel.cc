// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/kernel.hh>

#include <fmt/format.h>

#include <weir/core/error.hh>
#include <weir/pipeline/combinators.hh>

namespace weir::pipeline {

kernel_step kernel::finish(const slot_lane*, std::size_t) {
    return {};
}

namespace detail {

void check_range(std::string_view word, std::string_view what, std::size_t value,
                 std::size_t most) {
    if (value == 0 || value > most) {
        throw error(word, fmt::format("{} {}, not 1 to {}", what, value, most), errc::malformed);
    }
}

}  // namespace detail

}  // namespace weir::pipeline
