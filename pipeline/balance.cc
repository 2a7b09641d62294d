// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/balance.hh>

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>

namespace weir::pipeline {

namespace {

/// What a stage used for all its elements, in nanoseconds.
double cost_of(const stage_plan& planned, const stage_counters& counted) {
    if (counted.elements == 0) {
        return 0;
    }
    if (counted.sampled_elements == 0) {
        throw error(
            "balance",
            fmt::format("{}: none of its {} elements was timed", planned.name, counted.elements),
            errc::malformed);
    }
    return static_cast<double>(counted.service.count()) * static_cast<double>(counted.elements) /
           static_cast<double>(counted.sampled_elements);
}

/// What each stage used, by its number before fusion.
std::vector<double> costs_of(const plan& laid, const std::vector<stage_sample>& measured) {
    std::vector<double> costs;
    for (const stage_sample& each : measured) {
        const std::vector<unsigned>& numbers = laid.stages[each.stage].numbers;
        const double whole = cost_of(laid.stages[each.stage], each.counted);
        for (const unsigned number : numbers) {
            costs.resize(std::max<std::size_t>(costs.size(), number + std::size_t{1}));
            costs[number] = whole / static_cast<double>(numbers.size());
        }
    }
    return costs;
}

/// Fills one shard after the other up to `limit`.
std::vector<shard_id> fill(const std::vector<double>& costs, double limit) {
    std::vector<shard_id> shards;
    shard_id now = 0;
    double used = 0;
    for (const double cost : costs) {
        if (used + cost > limit && used != 0) {
            ++now;
            used = 0;
        }
        used += cost;
        shards.push_back(now);
    }
    return shards;
}

}  // namespace

placement balance(const plan& laid, const std::vector<stage_sample>& measured, unsigned shards) {
    WEIR_ASSERT(shards != 0);
    const std::vector<double> costs = costs_of(laid, measured);
    double enough = std::accumulate(costs.begin(), costs.end(), 0.0);
    if (enough == 0) {
        throw error("balance", laid.what.source_name + ": no stage was timed", errc::malformed);
    }
    // One shard can do it all; no shard can do with less than the longest stage or its share.
    double too_little = std::max(enough / shards, *std::ranges::max_element(costs)) / 2;
    for (int i = 0; i < 50; ++i) {
        const double middle = (too_little + enough) / 2;
        const bool fits =
            *std::ranges::max_element(costs) <= middle && fill(costs, middle).back() < shards;
        (fits ? enough : too_little) = middle;
    }
    placement where = laid.options.where;
    where.how = placement::policy::listed;
    where.shards = fill(costs, enough);
    return where;
}

}  // namespace weir::pipeline
