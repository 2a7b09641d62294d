// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <weir/core/metrics.hh>
#include <weir/pipeline/stage.hh>

namespace weir::pipeline {

/// What a stage does, as series weir_pipeline_* with the labels deployment and stage: on its
/// shard's metrics, for as long as this lives.
/// thread   the stage's shard
class stage_series {
  public:
    /// of       outlives this, and so does its ring
    /// cost     as many blocks as there are series
    stage_series(const std::string& deployment, stage& of);

    /// Takes them off. Where others have these labels, none were registered.
    void release() noexcept { _kept.clear(); }

  private:
    std::vector<metrics::registration> _kept;
};

}  // namespace weir::pipeline
