// SPDX-License-Identifier: Apache-2.0
#include <weir/core/assert.hh>

#include <cstdio>
#include <cstdlib>

#include <execinfo.h>
#include <unistd.h>

namespace weir {

void assertion_failed(const char* condition, std::source_location where) {
    std::fprintf(stderr, "%s:%u: %s: assertion failed: %s\n", where.file_name(),
                 static_cast<unsigned>(where.line()), where.function_name(), condition);
    void* frames[48];
    const int depth = ::backtrace(frames, 48);
    ::backtrace_symbols_fd(frames, depth, STDERR_FILENO);
    std::abort();
}

}  // namespace weir
