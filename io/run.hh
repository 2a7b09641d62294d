// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include <weir/core/future.hh>
#include <weir/core/host.hh>
#include <weir/core/placement.hh>
#include <weir/io/stall.hh>
#include <weir/io/thread_pool.hh>
#include <weir/io/uring.hh>

namespace weir::io {

/// What runs on a host, begun on its shard 0. The simulator takes the same function.
using application = std::function<future<>(host&)>;

struct run_options {
    host_options host{};            ///< its shards and their cpus are those of the placement
    placement_options placement{};  ///< which cpus; none: one per core, within the cgroup's quota
    bool pin = true;                ///< each shard to its cpu
    uring_options uring{};
    thread_pool_options blocking{};
    stall_options stall{};
    /// SIGINT and SIGTERM ask for a stop, at whatever moment; a second one ends the process at
    /// once. Each is logged. SIGPIPE is ignored. Without it signals are the caller's matter.
    bool handle_signals = true;
    /// A SIGSEGV, SIGBUS, SIGILL or SIGFPE, an overflow of a stack among them, says on stderr where
    /// it came from, and then does what it would have done. See crash_report.hh.
    bool report_crashes = true;
    /// For each shard after the application's end: to end what it left unfinished.
    duration drain_patience = std::chrono::seconds(2);
};

/// Lowers what each shard keeps, lends or may use of memory, where it stands at its default, so
/// that all of it together is a fraction of the memory: run() does so with what the cgroup grants.
/// memory_bytes  of the process
/// shards        1 or more
void fit_to_memory(run_options& options, std::uint64_t memory_bytes, unsigned shards) noexcept;

/// Runs `program` on this machine: a thread and a kernel ring for each shard, until its future is
/// settled. Operations that are still under way then are cancelled.
/// returns  0, or 1 if the program failed, which is logged, whatever it threw
/// fails    weir::error when a shard can't be set up, with the remedy
/// thread   the process's first one, before others block signals differently
int run(run_options options, application program);

}  // namespace weir::io
