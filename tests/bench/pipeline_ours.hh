// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <bench/pipeline_work.hh>

#include <weir/core/histogram.hh>
#include <weir/pipeline/plan.hh>

namespace weir::bench {

/// How a program is run: a shard on each of the CPUs, and what is deployed there.
struct setting {
    std::vector<int> cpus;
    pipeline::deploy_options deploy{};
};

/// One run of ours.
struct run_figures {
    double per_second = 0;
    double allocations = 0;  ///< an element, once an eighth of them is through
};

/// Moves `count` elements of `bytes` through a topology; aborts on a wrong sum.
run_figures run_ours(const topology& what, std::size_t bytes, std::int64_t count,
                     const setting& where);
/// The same work as one loop in this thread, pinned to the first CPU.
/// returns  elements per second
double run_loop(const topology& what, std::size_t bytes, std::int64_t count, int cpu);

/// Three maps of `rounds` each, `copies` of them, between a source and a sink.
run_figures run_stages(unsigned rounds, unsigned copies, std::int64_t count, const setting& where);
/// One map of `rounds` in copies.
run_figures run_sharded(unsigned rounds, unsigned copies, std::int64_t count, const setting& where);
/// Its bare loop on as many threads, each with its part of the elements.
double run_threads(unsigned rounds, std::int64_t count, const std::vector<int>& cpus);
/// returns  rounds of spin() in about `nanoseconds`
unsigned rounds_in(double nanoseconds);

/// Nanoseconds from a source to a sink, `maps` stages between them, an element each `pause_ns`.
histogram measure_hops(unsigned maps, std::int64_t count, std::int64_t pause_ns,
                       const setting& where);

}  // namespace weir::bench
