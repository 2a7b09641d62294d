// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <weir/io/sim/random.hh>

namespace weir::io::sim {

/// Every harm that the simulator can do.
enum class fault : std::uint8_t {
    // The disk, per operation.
    read_error,   ///< a read fails with EIO
    write_error,  ///< a write fails with EIO; some of its sectors may have been written
    sync_error,   ///< a sync fails once with EIO and the dirty data is dropped
    sync_lie,     ///< a sync succeeds and makes nothing durable
    no_space,     ///< a write or allocation fails with ENOSPC
    short_read,   ///< a read ends early
    short_write,  ///< a write ends early
    slow_disk,    ///< an operation takes a hundred times as long
    // The disk, at a power cut.
    lost_write,     ///< an unsynced sector is as before
    torn_write,     ///< of neighbouring unsynced sectors some are new and some are not
    junk_sector,    ///< a sector in flight, of space that was not even reserved before, is junk
    junk_anything,  ///< any sector in flight is junk: beyond what weir promises to survive
    lost_entry,     ///< an unsynced change of a directory is undone
    // The network.
    slow_segment,       ///< a segment takes a hundred times as long
    short_send,         ///< a send takes less than there is room for
    connection_loss,    ///< both ends are reset
    refused_connect,    ///< a connect is refused although somebody listens
    partition,          ///< two hosts do not reach each other for a while
    one_way_partition,  ///< one of two hosts does not reach the other for a while
    clog,               ///< everything from one host to another waits for a while
    // The host.
    power_cut,        ///< off; unsynced data is lost
    process_kill,     ///< the process dies, the kernel's caches live
    pause,            ///< a shard does not run for a while
    wall_clock_step,  ///< the wall clock jumps
    // The disk, at rest.
    bit_rot,  ///< a byte of a file changes, on the device too: beyond what most programs survive
    // The kernel, per operation that it may refuse so.
    no_descriptor,    ///< open, listen, accept or connect fails with EMFILE or ENFILE
    no_memory,        ///< anything but a sync and a close fails with ENOMEM
    interrupted,      ///< EINTR or EAGAIN, and nothing was done: whoever asks again gets it
    short_multishot,  ///< an accept or a receive ends although its result is good
    count
};

inline constexpr std::size_t fault_count = static_cast<std::size_t>(fault::count);
const char* to_string(fault) noexcept;

/// How often each fault strikes, in parts per million of its occasions: per operation, per
/// segment, per turn; for partitions, clogs, cuts, kills, clock steps and rot per nemesis_period.
struct fault_plan {
    std::array<std::uint32_t, fault_count> parts_per_million{};

    std::uint32_t& operator[](fault which) {
        return parts_per_million[static_cast<std::size_t>(which)];
    }
    std::uint32_t operator[](fault which) const {
        return parts_per_million[static_cast<std::size_t>(which)];
    }

    /// Nothing fails. A power cut, should a test order one, still loses and tears.
    static fault_plan none();
    /// Each fault that a correct program survives is on or off, and as frequent, as the seed
    /// says. sync_lie, junk_anything and bit_rot stay off: not every program survives them.
    /// source   Groce et al., Swarm Testing
    static fault_plan swarm(std::uint64_t seed);
};

/// Decides about faults and counts those that really happened.
class fault_injector {
  public:
    fault_injector(const fault_plan& plan, random_stream random) noexcept
        : _plan(plan), _random(random) {}

    /// Whether `which` strikes now; counts it if so.
    bool strikes(fault which) { return _active && _random.chance(_plan[which]) && count(which); }
    /// Whether it strikes, not yet counted: call count() where it takes effect.
    bool would_strike(fault which) { return _active && _random.chance(_plan[which]); }
    bool count(fault which) noexcept {
        ++_counts[static_cast<std::size_t>(which)];
        return true;
    }
    random_stream& random() noexcept { return _random; }

    /// Ends all random faults, for the second phase of a run: after the harm, everything heals.
    void stop() noexcept { _active = false; }
    /// Lets them strike again, for a test that says when.
    void resume() noexcept { _active = true; }
    bool active() const noexcept { return _active; }
    const fault_plan& plan() const noexcept { return _plan; }

    std::uint64_t injected(fault which) const noexcept {
        return _counts[static_cast<std::size_t>(which)];
    }
    std::uint64_t injected() const noexcept;
    /// Faults that the plan has and that never struck: a test that meant to have them is blind.
    std::vector<fault> never_struck() const;
    /// One line "name count" for each fault that struck.
    std::string report() const;
    void add(const fault_injector& other) noexcept;

  private:
    fault_plan _plan;
    random_stream _random;
    bool _active = true;
    std::array<std::uint64_t, fault_count> _counts{};
};

}  // namespace weir::io::sim
