// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <weir/core/shard.hh>
#include <weir/pipeline/graph.hh>

namespace weir::pipeline {

/// Which shard a stage goes to.
struct placement {
    enum class policy : std::uint8_t {
        spread,  ///< stage s goes to shard (base + s) mod shards
        pack,    ///< all on the base, where neighbours fuse
        listed,  ///< stage s goes to shards[s]; balance() makes such a list of what was measured
    };
    policy how = policy::spread;
    std::optional<shard_id> base{};  ///< unset: the shard that deploys
    /// For `listed`: one for each stage before any fuse, in the order in which they are laid.
    std::vector<shard_id> shards{};
    /// Stages and groups by name, before all else: "group/stage", "stage", "group", and of those
    /// that are there the first. Copy k of a sharded stage goes to (that + k) mod shards.
    std::map<std::string, shard_id> named{};
};

/// How a program is laid out on a host.
struct deploy_options {
    placement where{};
    std::size_t capacity = 1024;  ///< elements of a ring, 1..max_capacity, up to a power of two
    /// Elements that a stage handles at once, at most: 1..max_batch. It takes fewer where they
    /// take long.
    std::size_t batch = max_batch;
    /// Looks for elements in vain before a stage waits for a bell. More is faster and busier.
    unsigned polls = 200;
    bool fuse = true;  ///< neighbours on a shard become one stage, a program one loop
    /// Of the stages, and of what their functions begin; unset: that of who deploys. Nothing else
    /// is inherited: their calls begin at depth 0, however deep those are that led to deploy().
    std::optional<scheduling_group> group{};
    /// The label `deployment` of its series on /metrics. Of those that run at one time on a shard
    /// under one name the first has series; with an empty name none.
    std::string name = "pipeline";
    std::size_t series_stages_max = 64;  ///< so many stages of it have series, the first ones
    /// How long abort() waits for what a stage has under way.
    duration abort_grace = std::chrono::seconds(1);
    bool paused = false;  ///< the source gives nothing before deployment::resume()
};

/// One stage as it will run.
struct stage_plan {
    enum class form : std::uint8_t {
        source,
        work,
        async,
        sink,
        whole,  ///< the program as one loop, without streams
    };

    form kind = form::work;
    std::string name{};
    shard_id shard = 0;
    unsigned copy = 0;                  ///< which of the copies of a sharded stage
    stream_ptr in{};                    ///< null for the source and a whole program
    std::vector<node_ptr> nodes{};      ///< several where neighbours fused
    std::vector<unsigned> numbers{};    ///< of those among all before any fused
    const element_type* out = nullptr;  ///< null for the sink and a whole program
    std::size_t capacity = 0;
    std::size_t readers = 0;  ///< of its ring
    bool tags = false;        ///< its only node is a key_shard, whose tags it makes
    bool copies = false;      ///< its only node is a loop, whose feedback it copies
};

/// A program laid out: stages, and the streams that they read. Plain data, for every shard.
struct plan {
    program what;
    deploy_options options;
    std::vector<stage_plan> stages;  ///< the source first, the sink last; or one for all
    std::vector<unsigned> cpus{};    ///< of each shard, for pictures; empty where none is bound
};

/// Lays a program out on shards 0..shards-1.
/// fails    weir::error malformed: an option out of range, a name or shard that does not exist
plan lay_out(program what, deploy_options options, unsigned shards);

/// Calls `visit(ring)` for each gate that a reader of the stream has in a ring.
void visit_rings(const stream& read, const std::function<void(const stream&)>& visit);

}  // namespace weir::pipeline
