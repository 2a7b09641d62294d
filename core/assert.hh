// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <source_location>
#include <typeinfo>

namespace weir {

/// Prints the broken condition, the place, the shard and a backtrace to stderr, then aborts.
/// thread   any
[[noreturn, gnu::cold]] void assertion_failed(const char* condition, std::source_location where);

/// Aborts in the destructor of what was not ended before. Names the shard, says whether an
/// exception was on its way, and what to do.
/// what     such as "a server"
/// name     which one of its kind, or of which type; may be empty
/// by       what ends it
[[noreturn, gnu::cold]] void destroyed_too_soon(const char* what, const char* name,
                                                const char* by = "stop()") noexcept;
[[noreturn, gnu::cold]] void destroyed_too_soon(const char* what, const std::type_info& type,
                                                const char* by = "stop()") noexcept;

}  // namespace weir

/// A bug aborts, in release builds too: a process that broke its own rules must not go on to
/// acknowledge writes.
#define WEIR_ASSERT(condition)                         \
    (__builtin_expect(static_cast<bool>(condition), 1) \
         ? static_cast<void>(0)                        \
         : ::weir::assertion_failed(#condition, std::source_location::current()))
