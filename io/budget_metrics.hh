// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <weir/core/metrics.hh>
#include <weir/core/shard.hh>
#include <weir/io/budget.hh>

namespace weir::io {

/// Registers what a budget counts: weir_io_window_* of the window, weir_io_group_* of each group
/// once it reads or writes a file. Goes before both.
/// thread   the shard's
class budget_metrics {
  public:
    budget_metrics(shard& of, budget& counted);
    budget_metrics(const budget_metrics&) = delete;
    budget_metrics& operator=(const budget_metrics&) = delete;
    ~budget_metrics() { _budget.on_group({}); }

  private:
    void add(scheduling_group group);

    shard& _shard;
    budget& _budget;
    std::vector<metrics::registration> _kept;
};

}  // namespace weir::io
