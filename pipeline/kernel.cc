// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/kernel.hh>

namespace weir::pipeline {

kernel_step kernel::finish(const slot_lane*, std::size_t) {
    return {};
}

}  // namespace weir::pipeline
