// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <thread>

#include <broker/command_line.hh>
#include <broker/server/broker.hh>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <weir/core/cgroup.hh>
#include <weir/io/run.hh>

namespace {

constexpr std::uint64_t scarce_bytes = std::uint64_t{1} << 30;

/// An arena of its own reserves 64 MiB of them for a shard, and takes them from what is mapped.
bool addresses_are_scarce() {
    rlimit found{};
    return ::getrlimit(RLIMIT_AS, &found) == 0 && found.rlim_cur < scarce_bytes;
}

/// Where memory is scarce, large blocks are mapped one by one: what is given back goes back to the
/// kernel. In the heap it stays behind what lives longer, and makes it several times as large as
/// the budgets.
void keep_heap_small() {
    constexpr int large_block_bytes = 128 * 1024;
    if (weir::usable_memory_bytes(weir::cgroup_limits()) >= scarce_bytes) {
        return;
    }
    const auto shards = static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 64U));
    // NOLINTBEGIN(concurrency-mt-unsafe): there are no other threads yet
    mallopt(M_MMAP_THRESHOLD, large_block_bytes);
    mallopt(M_TRIM_THRESHOLD, large_block_bytes);
    mallopt(M_ARENA_MAX, addresses_are_scarce() ? 1 : shards + 2);
    // NOLINTEND(concurrency-mt-unsafe)
}

void tell(const weir::broker::broker_options& options,
          const weir::broker::broker_addresses& where) {
    fmt::print("weir broker: clients  {}\n", where.clients.to_string());
    if (options.serve_admin) {
        fmt::print("             admin    http://{}/\n", where.admin.to_string());
    }
    fmt::print("             data     {}\n", options.data_directory);
    fmt::print(
        "Try it:      seq 10 | kcat -P -b {0} -t hello\n"
        "             kcat -C -b {0} -t hello -e -q -o beginning\n",
        where.clients.to_string());
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) try {
    keep_heap_small();
    weir::broker::command_line line = weir::broker::parse_command_line(argc, argv);
    if (line.exit_code) {
        return *line.exit_code;
    }
    return weir::io::run(line.run, [&line](weir::host& on) {
        return weir::broker::run_broker(on, line.broker,
                                        [&line](const auto& where) { tell(line.broker, where); });
    });
} catch (const std::exception& e) {
    fmt::print(stderr, "weir broker: {}\n", e.what());
    return 1;
}
