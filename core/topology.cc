// SPDX-License-Identifier: Apache-2.0
#include <weir/core/topology.hh>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <set>

#include <hwloc.h>
#include <hwloc/distances.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>

namespace weir {

namespace {

constexpr unsigned highest_cpu = 65'535;
constexpr unsigned local_distance = 10;
constexpr unsigned guessed_package_distance = 12;
constexpr unsigned guessed_remote_distance = 20;

using cpu_set = std::set<unsigned>;

struct hwloc_destroyer {
    void operator()(hwloc_topology_t machine) const { hwloc_topology_destroy(machine); }
};
using machine_pointer = std::unique_ptr<std::remove_pointer_t<hwloc_topology_t>, hwloc_destroyer>;

// returns  the mask of the calling thread; none if the kernel refuses to tell
std::optional<cpu_set> affinity_mask() {
    // The kernel refuses a buffer that is smaller than its own mask.
    for (std::size_t cpus = 1024; cpus <= highest_cpu + 1; cpus *= 2) {
        std::vector<cpu_set_t> mask(CPU_ALLOC_SIZE(cpus) / sizeof(cpu_set_t));
        const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
        if (::sched_getaffinity(0, bytes, mask.data()) == 0) {
            cpu_set result;
            for (unsigned cpu = 0; cpu < cpus; ++cpu) {
                if (CPU_ISSET_S(cpu, bytes, mask.data())) {
                    result.insert(cpu);
                }
            }
            return result;
        }
        if (errno != EINVAL) {
            return std::nullopt;
        }
    }
    return std::nullopt;
}

// returns  the object's cpus that may be used, in the machine's order (siblings side by side)
std::vector<unsigned> cpus_under(hwloc_topology_t machine, hwloc_const_cpuset_t cpuset,
                                 const std::optional<cpu_set>& allowed) {
    std::vector<unsigned> result;
    hwloc_obj_t unit = nullptr;
    while ((unit = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_PU, unit)) != nullptr) {
        if (hwloc_bitmap_isset(cpuset, unit->os_index) == 1 &&
            (!allowed || allowed->contains(unit->os_index))) {
            result.push_back(unit->os_index);
        }
    }
    return result;
}

unsigned package_of(hwloc_topology_t machine, hwloc_obj_t object) {
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_PACKAGE, object);
    return package == nullptr ? 0 : package->os_index;
}

// Fills distances() from the first latency matrix that covers the nodes.
bool read_distances(hwloc_topology_t machine, topology& result) {
    hwloc_distances_s* matrix = nullptr;
    unsigned count = 1;
    if (hwloc_distances_get_by_type(machine, HWLOC_OBJ_NUMANODE, &count, &matrix,
                                    HWLOC_DISTANCES_KIND_MEANS_LATENCY, 0) != 0 ||
        count == 0) {
        return false;
    }
    bool complete = true;
    for (topology::node& from : result.nodes) {
        for (std::size_t to = 0; to < result.nodes.size(); ++to) {
            for (unsigned i = 0; i < matrix->nbobjs; ++i) {
                for (unsigned j = 0; j < matrix->nbobjs; ++j) {
                    if (matrix->objs[i]->os_index == from.number &&
                        matrix->objs[j]->os_index == result.nodes[to].number) {
                        from.distances[to] =
                            static_cast<unsigned>(matrix->values[i * matrix->nbobjs + j]);
                    }
                }
            }
            complete = complete && from.distances[to] != 0;
        }
    }
    hwloc_distances_release(machine, matrix);
    return complete;
}

void add_nodes(hwloc_topology_t machine, const std::optional<cpu_set>& allowed, topology& result) {
    std::vector<unsigned> packages;
    hwloc_obj_t object = nullptr;
    while ((object = hwloc_get_next_obj_by_type(machine, HWLOC_OBJ_NUMANODE, object)) != nullptr) {
        result.nodes.push_back({object->os_index,
                                object->attr->numanode.local_memory,
                                cpus_under(machine, object->cpuset, allowed),
                                {}});
        packages.push_back(package_of(machine, object));
    }
    for (topology::node& node : result.nodes) {
        node.distances.assign(result.nodes.size(), 0);
    }
    result.distances_known = read_distances(machine, result);
    if (result.distances_known) {
        return;
    }
    for (std::size_t from = 0; from < result.nodes.size(); ++from) {
        for (std::size_t to = 0; to < result.nodes.size(); ++to) {
            result.nodes[from].distances[to] = from == to ? local_distance
                                               : packages[from] == packages[to]
                                                   ? guessed_package_distance
                                                   : guessed_remote_distance;
        }
    }
}

// Of several nodes that hold a core (memory of two kinds) the one with the fewest cpus is its own.
unsigned node_of(const topology& result, unsigned cpu) {
    std::size_t best = 0;
    std::size_t fewest = SIZE_MAX;
    for (std::size_t i = 0; i < result.nodes.size(); ++i) {
        const std::vector<unsigned>& cpus = result.nodes[i].cpus;
        if (cpus.size() < fewest && std::find(cpus.begin(), cpus.end(), cpu) != cpus.end()) {
            best = i;
            fewest = cpus.size();
        }
    }
    return static_cast<unsigned>(best);
}

void add_cores(hwloc_topology_t machine, const std::optional<cpu_set>& allowed, topology& result) {
    // A machine that tells of no cores (some virtual ones) has one a cpu.
    const bool cores = hwloc_get_nbobjs_by_type(machine, HWLOC_OBJ_CORE) > 0;
    const hwloc_obj_type_t type = cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    hwloc_obj_t object = nullptr;
    while ((object = hwloc_get_next_obj_by_type(machine, type, object)) != nullptr) {
        topology::core core{0, package_of(machine, object),
                            cpus_under(machine, object->cpuset, allowed)};
        if (!core.cpus.empty()) {
            core.node = node_of(result, core.cpus.front());
            result.cores.push_back(std::move(core));
        }
    }
}

void add_caches(hwloc_topology_t machine, const std::optional<cpu_set>& allowed, topology& result) {
    for (const hwloc_obj_type_t type : {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                        HWLOC_OBJ_L4CACHE, HWLOC_OBJ_L5CACHE}) {
        hwloc_obj_t object = nullptr;
        while ((object = hwloc_get_next_obj_by_type(machine, type, object)) != nullptr) {
            topology::cache cache{object->attr->cache.depth, object->attr->cache.size,
                                  cpus_under(machine, object->cpuset, allowed)};
            if (!cache.cpus.empty()) {
                result.caches.push_back(std::move(cache));
            }
        }
    }
}

topology extract(hwloc_topology_t machine, const std::optional<cpu_set>& allowed) {
    topology result;
    result.synthetic = hwloc_topology_is_thissystem(machine) == 0;
    add_nodes(machine, allowed, result);
    add_cores(machine, allowed, result);
    add_caches(machine, allowed, result);
    return result;
}

machine_pointer new_machine() {
    hwloc_topology_t raw = nullptr;
    if (hwloc_topology_init(&raw) != 0) {
        throw error::from_errno("discover topology", "hwloc", errno);
    }
    return machine_pointer(raw);
}

}  // namespace

topology discover_topology() {
    const machine_pointer machine = new_machine();
    if (hwloc_topology_load(machine.get()) != 0) {
        throw error::from_errno("discover topology", "hwloc", errno);
    }
    // HWLOC_SYNTHETIC or HWLOC_XMLFILE may name another machine: this thread's mask says nothing
    // about that one.
    const bool here = hwloc_topology_is_thissystem(machine.get()) == 1;
    topology result = extract(machine.get(), here ? affinity_mask() : std::nullopt);
    if (result.cores.empty()) {
        throw error("discover topology", "no cpu is in this process's cpuset", errc::malformed);
    }
    return result;
}

topology synthetic_topology(std::string_view description, const std::vector<unsigned>& allowed) {
    const std::string text(description);
    const machine_pointer machine = new_machine();
    const int status = text.ends_with(".xml")
                           ? hwloc_topology_set_xml(machine.get(), text.c_str())
                           : hwloc_topology_set_synthetic(machine.get(), text.c_str());
    if (status != 0 || hwloc_topology_load(machine.get()) != 0) {
        throw error("parse synthetic topology",
                    "\"" + text + "\" (an example: \"pack:2 numa:1 core:4 pu:2\", or an .xml file)",
                    errc::malformed);
    }
    std::optional<cpu_set> kept;
    if (!allowed.empty()) {
        kept.emplace(allowed.begin(), allowed.end());
    }
    topology result = extract(machine.get(), kept);
    if (result.cores.empty()) {
        throw error("parse synthetic topology", "\"" + text + "\" has none of the allowed cpus",
                    errc::malformed);
    }
    return result;
}

void pin_this_thread(unsigned cpu) {
    WEIR_ASSERT(cpu <= highest_cpu);
    const std::size_t cpus = std::max<std::size_t>(1024, std::size_t{cpu} + 1);
    std::vector<cpu_set_t> mask(CPU_ALLOC_SIZE(cpus) / sizeof(cpu_set_t) + 1);
    const std::size_t bytes = mask.size() * sizeof(cpu_set_t);
    CPU_SET_S(cpu, bytes, mask.data());
    if (::sched_setaffinity(0, bytes, mask.data()) != 0) {
        throw error::from_errno("pin thread to", "cpu " + std::to_string(cpu), errno);
    }
}

bool bind_memory_local() noexcept {
    return ::syscall(SYS_set_mempolicy, MPOL_LOCAL, nullptr, 0UL) == 0;
}

}  // namespace weir
