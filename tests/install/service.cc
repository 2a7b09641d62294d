// SPDX-License-Identifier: Apache-2.0
// A service of ten lines, built against the installed library in each of the three ways.
#include <cerrno>
#include <cstdio>

#include <weir/core/error.hh>

int main() {
    const weir::error failure = weir::error::from_errno("open", "/data/0.log", ENOENT);
    std::puts(failure.what());
    return failure.is_errno(ENOENT) ? 0 : 1;
}
