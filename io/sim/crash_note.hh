// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace weir::io::sim {

/// What this process prints, beside the reason, if it aborts or a sanitizer stops it: the seed of
/// the world that ran. Empty text takes it back.
void crash_note(std::string_view text);

}  // namespace weir::io::sim
