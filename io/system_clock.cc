// SPDX-License-Identifier: Apache-2.0
#include <weir/io/system_clock.hh>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <limits>

#include <sys/random.h>

#include <weir/core/error.hh>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace weir::io {

instant monotonic_now() noexcept {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return instant(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
}

wall_clock_ms wall_clock_now() noexcept {
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return static_cast<wall_clock_ms>(now.tv_sec) * 1'000 + now.tv_nsec / 1'000'000;
}

duration thread_cpu_time() noexcept {
    timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

std::uint64_t random_seed() {
    std::uint64_t seed;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) {
        throw error::from_errno("draw", "random seed", errno);
    }
    return seed;
}

#if defined(__x86_64__)
namespace {

/// Whether the counter ticks at one rate whatever the processor does (CPUID 80000007h, EDX 8).
bool counter_is_constant() noexcept {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1U << 8);
}

struct reading {
    std::uint64_t ticks;
    instant time;
};

/// Both clocks at nearly one moment: of several tries the one that took least.
reading read_both() noexcept {
    reading best{};
    auto least = std::numeric_limits<std::uint64_t>::max();
    for (int i = 0; i < 16; ++i) {
        const auto before = __rdtsc();
        const auto time = monotonic_now();
        const auto after = __rdtsc();
        if (after - before < least) {
            least = after - before;
            best = {before + least / 2, time};
        }
    }
    return best;
}

}  // namespace
#endif

cycle_counter cycle_counter::calibrate() {
    cycle_counter counter;
#if defined(__x86_64__)
    if (counter_is_constant()) {
        const auto first = read_both();
        const timespec pause{.tv_sec = 0, .tv_nsec = 2'000'000};
        nanosleep(&pause, nullptr);
        const auto second = read_both();
        const auto elapsed = static_cast<double>((second.time - first.time).count());
        if (elapsed > 0 && second.ticks > first.ticks) {
            counter._constant = true;
            counter._ticks_per_ns = static_cast<double>(second.ticks - first.ticks) / elapsed;
        }
    }
#endif
    return counter;
}

void counted_clock::synchronise() noexcept {
    _synchronised = std::max(monotonic_now(), _last);
    _ticks = _synchronised_ticks = _cycles.now();
}

}  // namespace weir::io
