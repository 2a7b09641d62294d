// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include <broker/server/broker.hh>
#include <broker/server/catalog.hh>
#include <broker/server/errand.hh>

#include <weir/core/host.hh>

namespace weir::broker {

/// Calls `fn(broker&)` on the shard of a partition. Calls from one place to one partition arrive
/// in their order, also when that shard is this one.
/// fn       returns a future of a value; what it calls may wait for a device
template <typename Fn>
auto route(broker& here, std::string_view topic, std::int32_t partition, Fn fn)
    -> std::invoke_result_t<Fn&, broker&> {
    const shard_id owner = owner_of(topic, partition, this_host().shard_count());
    if (owner == this_shard().id()) {
        return futurize(fn, here);
    }
    return run_errand(here.all(), owner, std::move(fn));
}

}  // namespace weir::broker
