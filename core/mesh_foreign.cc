// SPDX-License-Identifier: Apache-2.0
// What threads without a shard want done on one.
#include <limits>
#include <utility>

#include <weir/core/mesh.hh>

namespace weir {

bool mesh_port::try_post(std::unique_ptr<foreign_work>& work) {
    return add_foreign(work, _options.foreign_calls);
}

void mesh_port::post(std::unique_ptr<foreign_work> work) {
    add_foreign(work, std::numeric_limits<std::size_t>::max());
}

bool mesh_port::add_foreign(std::unique_ptr<foreign_work>& work, std::size_t limit) {
    {
        const std::lock_guard guard(_foreign_lock);
        if (_foreign.size() >= limit) {
            ++_foreign_refused;
            return false;
        }
        _foreign.push_back(std::move(work));
    }
    if (_owner.bell().ring(bell::foreign)) {
        _owner.outside().interrupt();
    }
    return true;
}

mesh_counters mesh_port::counters() const {
    mesh_counters result = _counters;
    const std::lock_guard guard(_foreign_lock);
    result.foreign_refused = _foreign_refused;
    return result;
}

void mesh_port::drain_foreign() {
    std::vector<std::unique_ptr<foreign_work>> arrived;
    {
        const std::lock_guard guard(_foreign_lock);
        arrived.swap(_foreign);
    }
    _counters.foreign_calls += arrived.size();
    for (auto& work : arrived) {
        work->run();
    }
}

}  // namespace weir
