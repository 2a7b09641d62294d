// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace weir::bench {

/// What fio's own report says of one job.
struct fio_figures {
    double per_second = 0;
    double p50_ns =
        0;  ///< of one operation from the wish to its completion, the submission included
    double p99_ns = 0;
    double mean_ns = 0;        ///< wall time over operations, syncs included
    double cpu_ns_per_op = 0;  ///< user and system, of fio's worker
};

/// Runs one fio job of 4 KiB operations and reads its JSON report.
/// arguments  beside those of every job here, as "--rw=randread --direct=1"
/// cpu        where its worker runs
/// returns    nothing when there is no fio, or it failed
std::optional<fio_figures> run_fio(const std::string& arguments, double seconds, int cpu);

}  // namespace weir::bench
