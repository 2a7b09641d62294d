// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <weir/core/future.hh>

namespace weir::broker {

/// What the file system of a data directory can do.
struct file_system_abilities {
    bool direct = true;    ///< O_DIRECT
    bool allocate = true;  ///< fallocate
};

/// Does in a directory what the first append will do, in a file that it removes again: a start
/// must not promise what no append can keep. Says in a line what is missing.
/// fails    as the append would: a directory that can't be written; a full disk fails nothing
future<file_system_abilities> probe_file_system(std::string directory);

}  // namespace weir::broker
