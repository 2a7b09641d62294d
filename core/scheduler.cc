// SPDX-License-Identifier: Apache-2.0
#include <weir/core/scheduler.hh>

#include <algorithm>

#include <weir/core/assert.hh>

namespace weir {

scheduler::scheduler(poller& outside) : _outside(outside), _shuffles(outside.shuffles()) {
    define({0}, "main", default_shares);
}

void scheduler::define(scheduling_group group, std::string name, unsigned shares,
                       unsigned io_shares) {
    WEIR_ASSERT(group.index < max_groups && shares > 0);
    while (_groups.size() <= group.index) {
        _groups.push_back(std::make_unique<struct group>());
    }
    if (_names[group.index].load(std::memory_order_relaxed) == nullptr) {
        _groups[group.index]->name = std::move(name);
        // Pairs with the acquire in name().
        _names[group.index].store(&_groups[group.index]->name, std::memory_order_release);
    }
    _groups[group.index]->shares = shares;
    _groups[group.index]->io_shares = io_shares != 0 ? io_shares : shares;
}

void scheduler::set_shares(scheduling_group group, unsigned shares) {
    WEIR_ASSERT(group.index < _groups.size() && shares > 0);
    _groups[group.index]->shares = shares;
}

void scheduler::set_io_shares(scheduling_group group, unsigned shares) {
    WEIR_ASSERT(group.index < _groups.size() && shares > 0);
    _groups[group.index]->io_shares = shares;
}

void scheduler::make_ready(task& ready) noexcept {
    group& own = *_groups[ready.context().group.index];
    if (own.ready.empty()) {
        // A group that slept doesn't save up: it starts level with the one that ran last.
        own.virtual_runtime = std::max(own.virtual_runtime, _least);
    }
    if (_shuffles && (_outside.random() & 1) != 0) {
        own.ready.push_front(ready);
    } else {
        own.ready.push_back(ready);
    }
    ++_ready;
}

scheduler::group* scheduler::next() noexcept {
    group* chosen = nullptr;
    for (const auto& each : _groups) {
        if (!each->ready.empty() &&
            (chosen == nullptr || each->virtual_runtime < chosen->virtual_runtime)) {
            chosen = each.get();
        }
    }
    if (chosen != nullptr) {
        _least = std::max(_least, chosen->virtual_runtime);
    }
    return chosen;
}

void scheduler::charge(group& ran, duration used) noexcept {
    ran.runtime += used;
    // At least one unit: a group of very short slices must not stay first for ever.
    ran.virtual_runtime += std::max<std::uint64_t>(
        1, static_cast<std::uint64_t>(used.count()) * default_shares / ran.shares);
}

bool scheduler::runs_next(scheduling_group wanted) const noexcept {
    if (_ready == 0) {
        return true;
    }
    const group& own = *_groups[wanted.index];
    const std::uint64_t place =
        own.ready.empty() ? std::max(own.virtual_runtime, _least) : own.virtual_runtime;
    for (const auto& each : _groups) {
        if (!each->ready.empty() && each->virtual_runtime < place) {
            return false;
        }
    }
    return true;
}

void scheduler::charge_aside(scheduling_group ran, duration used) noexcept {
    group& own = *_groups[ran.index];
    if (own.ready.empty()) {
        own.virtual_runtime = std::max(own.virtual_runtime, _least);
    }
    charge(own, used);
}

group_counters scheduler::counters(scheduling_group group) const {
    WEIR_ASSERT(group.index < _groups.size());
    const auto& own = *_groups[group.index];
    return {own.tasks, own.ready.size(), own.runtime};
}

const std::string& scheduler::name(scheduling_group group) const noexcept {
    WEIR_ASSERT(group.index < max_groups);
    // Pairs with the release in define().
    const std::string* const known = _names[group.index].load(std::memory_order_acquire);
    return known != nullptr ? *known : _no_name;
}

}  // namespace weir
