// SPDX-License-Identifier: Apache-2.0
// Linked where oneTBB is missing.
#include <exception>

#include <bench/pipeline_tbb.hh>

namespace weir::bench {

bool tbb_built() noexcept {
    return false;
}
double run_tbb_pipeline(const topology&, std::size_t, std::int64_t, tbb_way,
                        const std::vector<int>&) {
    std::terminate();
}
double run_tbb_graph(const topology&, std::size_t, std::int64_t, std::size_t,
                     const std::vector<int>&) {
    std::terminate();
}
double run_tbb_stages(unsigned, std::int64_t, tbb_way, const std::vector<int>&) {
    std::terminate();
}

}  // namespace weir::bench
