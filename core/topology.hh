// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

/// How near two cpus are: the nearest thing that they share.
enum class proximity : std::uint8_t { same_cpu, smt_sibling, shared_cache, same_node, other_node };

/// returns  "same cpu" ... "other node"
std::string_view name_of(proximity) noexcept;

/// The part of a machine that this process may run on, as plain data. A cpu is named by the
/// operating system's number; cores, nodes and caches by their place in these vectors, which
/// follow the machine's own order, so that neighbours are near each other.
struct topology {
    struct core {
        unsigned node = 0;           ///< place in nodes
        unsigned package = 0;        ///< the socket's number
        std::vector<unsigned> cpus;  ///< the SMT siblings that may be used; never empty
    };
    struct node {
        unsigned number = 0;              ///< the operating system's
        std::uint64_t memory_bytes = 0;   ///< 0: unknown
        std::vector<unsigned> cpus;       ///< empty for memory without cpus
        std::vector<unsigned> distances;  ///< to each node, by place; 10 is local
    };
    struct cache {
        unsigned level = 0;  ///< 1, 2, 3...: data or unified
        std::uint64_t size_bytes = 0;
        std::vector<unsigned> cpus;
    };

    std::vector<core> cores;
    std::vector<node> nodes;
    std::vector<cache> caches;
    /// It describes another machine: nothing can be pinned by it.
    bool synthetic = false;
    /// The firmware told the distances; otherwise they are guessed: 10 local, 12 in the same
    /// package, 20 in another one.
    bool distances_known = false;

    /// returns  all cpus, core after core
    std::vector<unsigned> cpus() const;
    /// returns  the place of the cpu's core
    /// fails    aborts when the cpu is not part of the topology
    unsigned core_of(unsigned cpu) const;
    bool contains(unsigned cpu) const;
    /// thread   any
    proximity between(unsigned a, unsigned b) const;
    /// returns  the level of the smallest cache that both share, 0 if they share none
    unsigned shared_cache_level(unsigned a, unsigned b) const;
};

/// Finds the machine, cut down to this process's cpuset and affinity mask. Ask before any thread
/// is pinned: it reads the calling thread's mask.
/// fails    weir::error from hwloc
/// cost     milliseconds, files under /sys and /proc
topology discover_topology();

/// Builds the topology of another machine.
/// description  hwloc's, such as "pack:2 numa:1 core:4 pu:2", or the path of an .xml file that
///              `lstopo file.xml` wrote on that machine: its distances come along
/// allowed      the cpus that are kept; empty: all
/// fails        weir::error malformed
topology synthetic_topology(std::string_view description,
                            const std::vector<unsigned>& allowed = {});

/// Reads Linux's list form: "0-3,8". Duplicates are kept out.
/// fails    weir::error malformed; limit_exceeded above cpu 65,535
std::vector<unsigned> parse_cpu_list(std::string_view text);
/// returns  the shortest such list, "-" for none
std::string to_cpu_list(std::vector<unsigned> cpus);

/// Pins the calling thread to one cpu; needs no privilege.
/// fails    weir::error with the kernel's errno: EINVAL when the cpu is outside the cpuset
void pin_this_thread(unsigned cpu);

/// Asks that the calling thread's pages come from the node that it runs on, whatever policy the
/// process was started with. Call after pinning, before first touch.
/// returns  false when the system forbids it (a container's seccomp filter); first touch then
///          does the same unless the process was started under another policy
bool bind_memory_local() noexcept;

}  // namespace weir
