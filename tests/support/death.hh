// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

namespace weir::test {

/// Runs `deed` in a process of its own, which must die of it.
/// returns  what it wrote to stderr until a signal ended it, or "it lives" if none did
/// thread   of a process with no other one
std::string last_words(const std::function<void()>& deed);

}  // namespace weir::test
