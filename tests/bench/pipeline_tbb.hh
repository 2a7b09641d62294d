// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <bench/pipeline_work.hh>

namespace weir::bench {

/// Whether oneTBB was there when this was built; without it the functions below abort.
bool tbb_built() noexcept;

/// How oneTBB's pipeline may work: the driver takes the best for each row.
struct tbb_way {
    std::size_t tokens;  ///< elements under way
    bool parallel;       ///< filters without state may handle several elements at a time
};

/// A topology as a oneTBB parallel_pipeline, a filter each stage; as it is linear, consumers of
/// the same element follow one another.
/// returns  elements per second; aborts on a wrong sum
double run_tbb_pipeline(const topology& what, std::size_t bytes, std::int64_t count, tbb_way way,
                        const std::vector<int>& cpus);
/// The same as a flow graph, a node each stage, with at most `capacity` elements under way.
double run_tbb_graph(const topology& what, std::size_t bytes, std::int64_t count,
                     std::size_t capacity, const std::vector<int>& cpus);
/// Three filters of `rounds` each.
double run_tbb_stages(unsigned rounds, std::int64_t count, tbb_way way,
                      const std::vector<int>& cpus);

}  // namespace weir::bench
