// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

#include <weir/core/time.hh>
#include <weir/pipeline/ends.hh>

namespace weir::pipeline {

/// That it is time.
struct tick {
    std::uint64_t index;  ///< of its period, counted from the first
    instant due;
};

struct tick_options {
    std::uint64_t first = 0;  ///< index of the first one, a period after the start
    std::uint64_t end = std::numeric_limits<std::uint64_t>::max();  ///< index that ends the stream
};

/// A tick each period. Ticks for which the pipeline has no time, or that fall into a pause, are
/// not made up for: one comes late, and the index of the next one shows how many did not come.
source_of<tick> ticks(duration period, tick_options options = {});

}  // namespace weir::pipeline
