// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace weir::io {

/// A subject for an error of the start, with what to do about a limit of the system: "eventfd (no
/// descriptor left: raise ulimit -n, ...)"; the subject alone if there is nothing to say.
/// errno_value  positive, as in errno
std::string with_remedy(std::string_view subject, int errno_value);

}  // namespace weir::io
