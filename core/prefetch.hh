// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weir {

/// Begins to fetch the line at `place`, to read it. Any address will do.
inline void prefetch_to_read(const void* place) noexcept {
    __builtin_prefetch(place);
}

/// Begins to fetch the line at `place`, to write it: takes it from the caches of others.
inline void prefetch_to_write(const void* place) noexcept {
#if defined(__x86_64__)
    // Compilers put a fetch for reading here unless told of a processor newer than the oldest.
    asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(place)));
#else
    __builtin_prefetch(place, 1);
#endif
}

}  // namespace weir
