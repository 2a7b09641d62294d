// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <weir/core/cgroup.hh>

namespace fs = std::filesystem;

namespace {

// A directory that stands for "/".
struct fake_root {
    fs::path path;

    fake_root() {
        char name[] = "/tmp/weir-cgroup-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~fake_root() { fs::remove_all(path); }

    void write(const std::string& name, const std::string& text) const {
        const fs::path file = path / name;
        fs::create_directories(file.parent_path());
        std::ofstream(file) << text << '\n';
    }

    void mount_v2(const std::string& part = "/") const {
        write("proc/self/mountinfo",
              "22 1 8:1 / / rw - ext4 /dev/root rw\n"
              "30 22 0:26 " +
                  part + " /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw");
    }
};

}  // namespace

TEST_SUITE("core/cgroup") {
    TEST_CASE("without cgroups there are no limits") {
        const fake_root root;
        CHECK_FALSE(weir::cgroup_limits(root.path).memory_bytes);
        CHECK_FALSE(weir::cgroup_limits(root.path).cpus);
        CHECK_FALSE(weir::cgroup_limits("/does/not/exist").cpus);
    }

    TEST_CASE("v2: the least limit on the way to the root holds") {
        const fake_root root;
        root.mount_v2();
        root.write("proc/self/cgroup", "0::/system.slice/weir.service");
        root.write("sys/fs/cgroup/system.slice/weir.service/memory.max", "max");
        root.write("sys/fs/cgroup/system.slice/weir.service/cpu.max", "250000 100000");
        root.write("sys/fs/cgroup/system.slice/memory.max", "1073741824");
        root.write("sys/fs/cgroup/system.slice/cpu.max", "max 100000");
        const weir::resource_limits limits = weir::cgroup_limits(root.path);
        CHECK(limits.memory_bytes == 1073741824U);
        CHECK(limits.cpus == 2.5);
    }

    TEST_CASE("v2 in a container: the mount point is the group, whatever the path says") {
        const fake_root root;
        root.mount_v2("/kubepods/pod1/box");
        root.write("sys/fs/cgroup/memory.max", "4096000");
        root.write("sys/fs/cgroup/cpu.max", "50000 100000");
        for (const char* path : {"/", "/kubepods/pod1/box", "/../../somewhere", "/elsewhere", ""}) {
            CAPTURE(path);
            root.write("proc/self/cgroup", std::string("0::") + path);
            const weir::resource_limits limits = weir::cgroup_limits(root.path);
            CHECK(limits.memory_bytes == 4096000U);
            CHECK(limits.cpus == 0.5);
        }
    }

    TEST_CASE("v1: controllers have hierarchies of their own") {
        const fake_root root;
        root.write("proc/self/mountinfo",
                   "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
                   "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
                   "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory");
        root.write("proc/self/cgroup", "5:memory:/a/b\n3:cpu,cpuacct:/c\n1:cpuset:/\n0::/");
        root.write("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712");
        CHECK_FALSE(weir::cgroup_limits(root.path).memory_bytes);
        root.write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "500000");
        root.write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1");
        root.write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "100000");
        CHECK(weir::cgroup_limits(root.path).memory_bytes == 500000U);
        CHECK_FALSE(weir::cgroup_limits(root.path).cpus);
        root.write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "150000");
        CHECK(weir::cgroup_limits(root.path).cpus == 1.5);
    }

    TEST_CASE("files with nonsense in them set no limit") {
        const fake_root root;
        root.mount_v2();
        root.write("proc/self/cgroup", "0::/g\nnonsense\n:\n::\n7");
        root.write("sys/fs/cgroup/g/memory.max", "12 monkeys");
        root.write("sys/fs/cgroup/g/cpu.max", "100000 0");
        CHECK_FALSE(weir::cgroup_limits(root.path).memory_bytes);
        CHECK_FALSE(weir::cgroup_limits(root.path).cpus);
    }

    TEST_CASE("the usable memory is the machine's unless the cgroup grants less") {
        const std::uint64_t machine = weir::usable_memory_bytes({});
        CHECK(machine > 0);
        CHECK(weir::usable_memory_bytes({.memory_bytes = 4096}) == 4096);
        CHECK(weir::usable_memory_bytes({.memory_bytes = UINT64_MAX}) == machine);
        CHECK(weir::usable_memory_bytes(weir::cgroup_limits()) <= machine);
    }

    TEST_CASE("the usable memory is a part of what the process may map or write") {
        const auto with = [](auto which, std::uint64_t bytes) {
            rlimit before{};
            REQUIRE(::getrlimit(which, &before) == 0);
            rlimit less = before;
            less.rlim_cur = bytes;
            REQUIRE(::setrlimit(which, &less) == 0);
            const std::uint64_t usable = weir::usable_memory_bytes({});
            REQUIRE(::setrlimit(which, &before) == 0);
            return usable;
        };
        constexpr std::uint64_t mib = std::uint64_t{1} << 20;
        CHECK(with(RLIMIT_AS, 400 * mib) == 100 * mib);
        CHECK(with(RLIMIT_DATA, 400 * mib) == 100 * mib);
        CHECK(with(RLIMIT_AS, 200 * mib) == 64 * mib);
        CHECK(with(RLIMIT_DATA, 40 * mib) == 40 * mib);
    }
}
