// SPDX-License-Identifier: Apache-2.0
#include <bench/lmax_driver.hh>

#include <filesystem>

#include <fmt/format.h>

namespace weir::bench {

std::vector<std::string> lmax_command(const std::string& folder, const std::string& main_class) {
    return {"java",
            "-Xms256m",
            "-Xmx256m",
            "-cp",
            folder + "/driver.jar:" + folder + "/disruptor-4.0.0.jar",
            main_class};
}

bool lmax_built(const std::string& folder) {
    return std::filesystem::exists(folder + "/driver.jar");
}

lmax_driver::lmax_driver(const std::string& folder, int producer_cpu, int consumer_cpu)
    : _process(lmax_command(folder, "Driver")) {
    _process.pin("lmax-producer", producer_cpu);
    _process.pin("lmax-consumer", consumer_cpu);
    // The compiler of the JVM wants to see each loop several times.
    constexpr std::int64_t warm_up_elements = 2'000'000;
    constexpr std::int64_t warm_up_trips = 100'000;
    for (int round = 0; round < 5; ++round) {
        rate(1, warm_up_elements);
        rate(64, warm_up_elements / 64 * 64);
        round_trip_ns(warm_up_trips);
    }
}

double lmax_driver::rate(std::size_t batch, std::int64_t count) {
    return _process.ask(fmt::format("rate {} {}", batch, count));
}

double lmax_driver::round_trip_ns(std::int64_t count) {
    return _process.ask(fmt::format("round_trip {}", count));
}

}  // namespace weir::bench
