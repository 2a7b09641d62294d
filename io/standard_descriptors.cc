// SPDX-License-Identifier: Apache-2.0
#include <weir/io/standard_descriptors.hh>

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include <weir/core/error.hh>

namespace weir::io {

void hold_standard_descriptors() {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (fcntl(standard, F_GETFD) >= 0 || errno != EBADF) {
            continue;
        }
        // A place in a tree, not an open file: there is one even where /dev is missing. The kernel
        // gives the lowest number that is free, and those below are taken.
        if (::open("/", O_PATH | O_CLOEXEC) != standard) {
            throw error::from_errno("hold", "standard descriptor " + std::to_string(standard),
                                    errno);
        }
    }
}

}  // namespace weir::io
