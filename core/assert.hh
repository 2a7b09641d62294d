// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>

namespace weir {

/// Prints the broken condition, the place, the shard and a backtrace to stderr, then aborts.
/// thread   any
[[noreturn, gnu::cold]] void assertion_failed(const char* condition, std::source_location where);

}  // namespace weir

/// A bug aborts, in release builds too: a process that broke its own rules must not go on to
/// acknowledge writes.
#define WEIR_ASSERT(condition)                         \
    (__builtin_expect(static_cast<bool>(condition), 1) \
         ? static_cast<void>(0)                        \
         : ::weir::assertion_failed(#condition, std::source_location::current()))
