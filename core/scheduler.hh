// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <weir/core/poller.hh>
#include <weir/core/task.hh>
#include <weir/core/time.hh>

namespace weir {

/// What a scheduling group has used; read by metrics.
struct group_counters {
    std::uint64_t tasks = 0;  ///< run so far
    std::size_t ready = 0;    ///< in line now
    duration runtime{};       ///< of its tasks so far
};

/// The ready tasks of a shard, by scheduling group. The group that has run least, in proportion
/// to its shares, goes first; within a group first come, first served (in the simulator: in
/// seeded order, since nobody may rely on it).
/// thread   the owning shard
/// cost     make_ready and next are O(1); choosing a group is linear in the groups
class scheduler {
  public:
    static constexpr unsigned max_groups = 64;
    static constexpr unsigned default_shares = 1000;

    explicit scheduler(poller& outside);

    /// Creates a group, or changes the shares of one, which keeps its name. Use host::create_group,
    /// which does so on every shard.
    /// io_shares  of the reads and writes of files, which io weighs; 0: as `shares`
    void define(scheduling_group group, std::string name, unsigned shares, unsigned io_shares = 0);
    void set_shares(scheduling_group group, unsigned shares);
    void set_io_shares(scheduling_group group, unsigned shares);
    unsigned io_shares(scheduling_group group) const noexcept {
        return _groups[group.index]->io_shares;
    }

    void make_ready(task& ready) noexcept;
    bool empty() const noexcept { return _ready == 0; }

    /// The next group to run, or null. Charge what it used when it stops.
    struct group;
    group* next() noexcept;
    void charge(group& ran, duration used) noexcept;
    /// Whether work of `group`, if it was ready now, would run before all that is.
    bool runs_next(scheduling_group group) const noexcept;
    /// Charges what was run without having been in line.
    void charge_aside(scheduling_group group, duration used) noexcept;

    group_counters counters(scheduling_group group) const;
    /// returns  its name, which stays where and as it is; empty before the group is made here
    /// thread   any, for as long as the shard lives: who watches it from outside says the name
    const std::string& name(scheduling_group group) const noexcept;
    std::size_t group_count() const noexcept { return _groups.size(); }
    std::size_t ready_count() const noexcept { return _ready; }

    struct group {
        task_queue ready;
        std::uint64_t tasks = 0;
        std::uint64_t virtual_runtime = 0;  // runtime x default_shares / shares
        unsigned shares = default_shares;
        unsigned io_shares = default_shares;
        duration runtime{};
        std::string name;
    };

    task& take(group& from) noexcept {
        --_ready;
        ++from.tasks;
        return from.ready.pop_front();
    }

  private:
    std::vector<std::unique_ptr<group>> _groups;  // indexed by scheduling_group
    std::array<std::atomic<const std::string*>, max_groups> _names{};  // once they are written
    const std::string _no_name;
    std::size_t _ready = 0;
    std::uint64_t _least = 0;  // where a waking group starts: what the one chosen last had used
    poller& _outside;
    bool _shuffles;
};

}  // namespace weir
