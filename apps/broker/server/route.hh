// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/server/catalog.hh>

#include <weir/core/call.hh>
#include <weir/core/host.hh>

namespace weir::broker {

/// Calls `fn(broker&)` on the shard of a partition. Calls from one place to one partition arrive
/// in their order, also when that shard is this one.
/// fn       returns a future; copies what it needs into what it calls, for it may end before
template <typename Fn>
auto route(broker& here, std::string_view topic, std::int32_t partition, Fn fn)
    -> std::invoke_result_t<Fn&, broker&> {
    const shard_id owner = owner_of(topic, partition, this_host().shard_count());
    if (owner == this_shard().id()) {
        return futurize(fn, here);
    }
    return on(owner, [&all = here.all(), fn = std::move(fn)]() mutable { return fn(all.local()); });
}

}  // namespace weir::broker
