// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/core/shard.hh>
#include <weir/core/timer.hh>

namespace weir::net {

/// A timer that keeps its place among the armed ones: setting it needs no memory, so that want of
/// memory can be waited out.
/// thread   the shard it was made on
class standing_timer : public timer {
  public:
    standing_timer() { arm(never); }

    void set(instant due) noexcept { arm(due); }
    /// returns  whether it was set
    bool unset() noexcept {
        const bool set = armed() && due() != never;
        arm(never);
        return set;
    }

  protected:
    ~standing_timer() = default;
    virtual void expired() noexcept = 0;

  private:
    void fire() noexcept final {
        arm(never);
        expired();
    }
};

}  // namespace weir::net
