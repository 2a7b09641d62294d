// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weir::io {

/// Takes those of the descriptors 0 to 2 that are closed, so that none of what the process opens
/// becomes its standard input or output. Who reads or writes them fails with EBADF, as if they were
/// closed still; a program that the process starts finds them closed.
/// fails    throws weir::error if there is no descriptor
/// thread   before any other that opens something
void hold_standard_descriptors();

}  // namespace weir::io
