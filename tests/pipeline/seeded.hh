// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include <pipeline/random_pipeline.hh>

/// Checks of what is drawn at random, on the simulator and on threads.
namespace weir::test {

/// Of the hosts that checks run on.
inline constexpr unsigned law_shards = 3;

/// returns  the number that an environment variable holds
std::uint64_t number_from(const char* variable, std::uint64_t otherwise);

/// Runs `body` on a host of a simulated world of its own.
/// returns  what it said, or why it did not end; empty: nothing went wrong
std::string in_world(std::uint64_t seed, unsigned shards,
                     const std::function<future<std::string>()>& body);

/// Draws something and tries it.
/// returns  what is wrong with it; empty: nothing
using drawn_check = std::function<future<std::string>(chooser&)>;

/// How often and where on_seeds() runs a check.
struct seed_counts {
    std::uint64_t worlds = 12;    ///< on the simulator
    std::uint64_t draws = 4;      ///< in each world
    std::uint64_t threaded = 10;  ///< on the kernel, in one host
};

/// Runs `check` for many seeds; what fails names its own. WEIR_LAW_SEED=n begins with another
/// one, WEIR_LAW_SEEDS=n runs so many worlds and so many draws on threads.
void on_seeds(seed_counts counts, const drawn_check& check);
inline void on_seeds(const drawn_check& check) {
    on_seeds({}, check);
}

}  // namespace weir::test
