// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <weir/core/shard.hh>
#include <weir/core/time.hh>

namespace weir::net {

/// What a peer's deadline moves by, from one look to the next, since we were not there to hear it.
/// That is noticed only from when we should have run, and may have begun long before: it counts
/// twice.
inline duration missed(duration absent_before) noexcept {
    return 2 * (this_shard().counters().absent - absent_before);
}

/// The time that a peer has for something. It runs only while it is the peer's turn.
/// thread   one shard
class peer_deadline {
  public:
    explicit peer_deadline(duration allowed) noexcept
        : _due(this_shard().now() + allowed), _absent(this_shard().counters().absent) {}

    instant due() const noexcept { return _due + missed(_absent); }

    /// While it lives the peer waits for us.
    class our_turn {
      public:
        explicit our_turn(peer_deadline& of) noexcept
            : _of(of), _began(this_shard().now()), _due(of.due()) {}
        our_turn(const our_turn&) = delete;
        our_turn& operator=(const our_turn&) = delete;
        ~our_turn() {
            _of._due = _due + (this_shard().now() - _began);
            _of._absent = this_shard().counters().absent;
        }

      private:
        peer_deadline& _of;
        const instant _began;
        const instant _due;
    };

  private:
    instant _due;
    duration _absent;
};

}  // namespace weir::net
