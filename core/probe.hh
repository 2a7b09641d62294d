// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/core/host.hh>

namespace weir {

/// Hears the named steps that work passes. Tests use one to hold README's "way of a record" against
/// what really happens.
class probe_sink {
  public:
    virtual ~probe_sink() = default;
    /// name     one verb, the same in function, probe, metric and log
    /// thread   the shard that passes the step
    virtual void passed(const char* name) noexcept = 0;
};

/// Marks a step.
/// cost     three loads when nobody listens
inline void probe(const char* name) noexcept {
    if (probe_sink* listening = this_host().options().probes) [[unlikely]] {
        listening->passed(name);
    }
}

}  // namespace weir
