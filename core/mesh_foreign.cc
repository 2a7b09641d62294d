// SPDX-License-Identifier: Apache-2.0
// What threads without a shard want done on one.
#include <limits>
#include <utility>

#include <weir/core/mesh.hh>

namespace weir {

bool mesh_port::try_post(std::unique_ptr<foreign_work>& work) noexcept {
    if (!add_foreign(*work, _options.foreign_calls)) {
        return false;
    }
    [[maybe_unused]] const auto* const theirs = work.release();
    return true;
}

void mesh_port::post(foreign_work& work) noexcept {
    add_foreign(work, std::numeric_limits<std::size_t>::max());
}

bool mesh_port::add_foreign(foreign_work& work, std::size_t limit) noexcept {
    {
        const std::lock_guard guard(_foreign_lock);
        if (_foreign_waiting >= limit) {
            ++_foreign_refused;
            return false;
        }
        ++_foreign_waiting;
        (_last_foreign != nullptr ? _last_foreign->next : _first_foreign) = &work;
        _last_foreign = &work;
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

void mesh_port::drain_foreign() noexcept {
    foreign_work* arrived = nullptr;
    {
        const std::lock_guard guard(_foreign_lock);
        arrived = std::exchange(_first_foreign, nullptr);
        _last_foreign = nullptr;
        _counters.foreign_calls += std::exchange(_foreign_waiting, 0);
    }
    while (arrived != nullptr) {
        foreign_work& each = *std::exchange(arrived, arrived->next);
        each.next = nullptr;
        each.run();
        each.let_go();
    }
}

}  // namespace weir
