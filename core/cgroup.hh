// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace weir {

/// What the cgroups of this process grant: the least along the whole path to the root.
struct resource_limits {
    std::optional<std::uint64_t> memory_bytes;  ///< none: unlimited
    std::optional<double> cpus;                 ///< quota over period; none: unlimited
};

/// Reads cgroup v2 (memory.max, cpu.max) and v1 (memory.limit_in_bytes, cpu.cfs_quota_us).
/// root     where /proc and the cgroup mounts are looked for
/// returns  no limits where there are no cgroups or nothing is readable
/// cost     a few small files; once, at start
resource_limits cgroup_limits(const std::filesystem::path& root = "/");

/// returns  the memory that a budget may count on: the cgroup's limit, the machine's memory, or
/// what
///          the process's own limits leave (ulimit -v, ulimit -d), whichever is least
std::uint64_t usable_memory_bytes(const resource_limits& limits);

}  // namespace weir
