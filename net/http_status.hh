// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace weir::net {

/// returns  the reason phrase of a registered status, "Unknown" for any other
std::string_view reason_of(unsigned status) noexcept;
/// Whether an answer of that status has neither a body nor a length.
constexpr bool is_bodiless(unsigned status) noexcept {
    return status < 200 || status == 204 || status == 304;
}

}  // namespace weir::net
