// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <weir/core/metrics.hh>
#include <weir/io/uring.hh>

namespace weir::io {

/// Registers what a backend counts, as weir_io_*. Both outlive the registrations.
std::vector<metrics::registration> register_metrics(metrics& registry, const uring& backend);

}  // namespace weir::io
