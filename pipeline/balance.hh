// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <weir/pipeline/deployment.hh>

namespace weir::pipeline {

/// Places the stages of a program by what they were measured to use: they keep their order, each
/// shard gets some that follow one another, and the busiest shard has as little to do as that
/// allows.
/// laid      how the program was laid out when it was measured; the parts of a fused stage count
///           as equals, so measure with deploy_options::fuse off
/// measured  deployment::sample() of that run, taken at least twice: stages are timed between. Of
///           a map_async only the starting of its futures is timed, not what they do later
/// shards    that may be used, 1 or more
/// returns   a list for deploy_options::where, for the same program. Its base and what it places by
///           name stay as they were: names go before the list, which takes no account of them
/// fails     weir::error malformed if a stage handled elements and was never timed (it is named),
///           or if none was
placement balance(const plan& laid, const std::vector<stage_sample>& measured, unsigned shards);

}  // namespace weir::pipeline
