// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <weir/core/future.hh>

namespace weir {

/// Runs `fn`, and all tasks that come of it, in `group`: at once if that is the group of the
/// caller, else when it is the group's turn. Who waits for the result stays in its own. As what a
/// scope is given, it begins at depth 0: see begins_anew.
/// group    from host::create_group
template <typename Fn>
auto with_group(scheduling_group group, Fn fn) ->
    typename detail::futurized<std::invoke_result_t<Fn&>>::type {
    shard& here = this_shard();
    const task_context own = here.context();
    if (group == own.group) {
        const begins_anew anew;
        return make_ready_future().then(std::move(fn));
    }
    using step = detail::value_step<void, Fn>;
    here.set_context({group, 0, own.calls_above});
    auto* entry = new detail::continuation<void, step, typename step::R>(make_ready_future(),
                                                                         step{std::move(fn)});
    here.set_context(own);
    auto result = entry->result();
    entry->start();
    return result;
}

}  // namespace weir
