// SPDX-License-Identifier: Apache-2.0
#include <weir/core/cgroup.hh>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <sys/resource.h>
#include <unistd.h>

namespace weir {

namespace {

namespace fs = std::filesystem;

// v1 has no word for "unlimited", only the greatest number of pages.
constexpr std::uint64_t unlimited_v1 = std::uint64_t{1} << 62;

struct mount {
    std::string root;   // what part of the hierarchy is mounted
    std::string point;  // where
    std::string type;
    std::string options;
};

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) {
        parts.push_back(part);
    }
    return parts;
}

bool has_word(const std::string& list, std::string_view word) {
    const std::vector<std::string> words = split(list, ',');
    return std::find(words.begin(), words.end(), word) != words.end();
}

// mountinfo: id parent device ROOT POINT options optional... - TYPE source OPTIONS
std::vector<mount> cgroup_mounts(const fs::path& root) {
    std::vector<mount> result;
    std::ifstream file(root / "proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> words = split(line, ' ');
        const auto dash = std::find(words.begin(), words.end(), "-");
        if (words.size() > 5 && words.end() - dash > 3 && dash[1].starts_with("cgroup")) {
            result.push_back({words[3], words[4], dash[1], dash[3]});
        }
    }
    return result;
}

std::string first_line(const fs::path& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

template <class Number>
std::optional<Number> number_in(const std::string& text) {
    Number value{};
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failure != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return value;
}

template <class Number>
void lower(std::optional<Number>& limit, Number candidate) {
    limit = limit ? std::min(*limit, candidate) : candidate;
}

void lower_cpus(resource_limits& limits, std::optional<std::int64_t> quota,
                std::optional<std::int64_t> period) {
    if (quota && period && *quota > 0 && *period > 0) {  // v1 says -1 for none
        lower(limits.cpus, static_cast<double>(*quota) / static_cast<double>(*period));
    }
}

void read_group(const fs::path& group, bool v2, resource_limits& limits) {
    if (v2) {
        if (const auto bytes = number_in<std::uint64_t>(first_line(group / "memory.max"))) {
            lower(limits.memory_bytes, *bytes);
        }
        const std::vector<std::string> cpu = split(first_line(group / "cpu.max"), ' ');
        if (cpu.size() == 2) {
            lower_cpus(limits, number_in<std::int64_t>(cpu[0]), number_in<std::int64_t>(cpu[1]));
        }
        return;
    }
    const auto bytes = number_in<std::uint64_t>(first_line(group / "memory.limit_in_bytes"));
    if (bytes && *bytes < unlimited_v1) {
        lower(limits.memory_bytes, *bytes);
    }
    lower_cpus(limits, number_in<std::int64_t>(first_line(group / "cpu.cfs_quota_us")),
               number_in<std::int64_t>(first_line(group / "cpu.cfs_period_us")));
}

// Reads the group and all above it. In a container the path in /proc/self/cgroup may be the
// host's while only the group itself is mounted: then the mount point is the group.
void read_path(const fs::path& root, const mount& where, std::string path,
               resource_limits& limits) {
    const bool v2 = where.type == "cgroup2";
    const fs::path top = root / fs::path(where.point).relative_path();
    if (where.root != "/" && path.starts_with(where.root)) {
        path.erase(0, where.root.size());
    }
    fs::path below = fs::path(path).relative_path().lexically_normal();
    std::error_code ignored;
    if (below.empty() || *below.begin() == ".." || !fs::is_directory(top / below, ignored)) {
        below.clear();
    }
    for (; !below.empty() && below != "."; below = below.parent_path()) {
        read_group(top / below, v2, limits);
    }
    read_group(top, v2, limits);
}

constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

std::uint64_t own_limit(decltype(RLIMIT_AS) resource) {
    rlimit found{};
    return ::getrlimit(resource, &found) == 0 && found.rlim_cur != RLIM_INFINITY ? found.rlim_cur
                                                                                 : unlimited;
}

}  // namespace

resource_limits cgroup_limits(const fs::path& root) {
    resource_limits limits;
    const std::vector<mount> mounts = cgroup_mounts(root);
    std::ifstream file(root / "proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {  // number:controllers:path
        const std::size_t first = line.find(':');
        const std::size_t second = line.find(':', first == std::string::npos ? first : first + 1);
        if (second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string path = line.substr(second + 1);
        for (const mount& each : mounts) {
            const bool v2 = each.type == "cgroup2" && controllers.empty();
            const bool v1 =
                each.type == "cgroup" &&
                ((has_word(controllers, "memory") && has_word(each.options, "memory")) ||
                 (has_word(controllers, "cpu") && has_word(each.options, "cpu")));
            if (v1 || v2) {
                read_path(root, each, path, limits);
            }
        }
    }
    return limits;
}

std::uint64_t usable_memory_bytes(const resource_limits& limits) {
    // Most of an address space holds no memory: a thread's stack and its malloc arena reserve 8 and
    // 64 MiB, whatever they use, where that is there.
    constexpr std::uint64_t part = 4;
    constexpr std::uint64_t least = std::uint64_t{64} << 20;
    const std::uint64_t may_map = std::min(own_limit(RLIMIT_AS), own_limit(RLIMIT_DATA));
    const auto pages = static_cast<std::uint64_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
    const auto page_size = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
    return std::min({pages * page_size, limits.memory_bytes.value_or(unlimited),
                     std::max(may_map / part, std::min(may_map, least))});
}

}  // namespace weir
