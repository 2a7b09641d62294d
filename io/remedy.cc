// SPDX-License-Identifier: Apache-2.0
#include <weir/io/remedy.hh>

#include <cerrno>

namespace weir::io {

std::string with_remedy(std::string_view subject, int errno_value) {
    std::string said(subject);
    switch (errno_value) {
        case EMFILE:
            return said +
                   " (no descriptor left: raise ulimit -n, or LimitNOFILE in the service's "
                   "unit)";
        case ENFILE:
            return said + " (no descriptor left in the whole system: raise sysctl fs.file-max)";
        case EAGAIN:
            return said +
                   " (no thread, process or timer left: raise ulimit -u, pids.max of the "
                   "cgroup or TasksMax in the service's unit, or ask for fewer shards)";
        case ENOMEM:
            return said +
                   " (no memory left: raise memory.max of the cgroup or ulimit -v, or ask "
                   "for fewer shards)";
        default:
            return said;
    }
}

}  // namespace weir::io
