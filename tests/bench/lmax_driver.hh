// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <bench/line_process.hh>

namespace weir::bench {

/// The command that runs a class of the LMAX driver; its arguments follow.
/// folder   where Maven put driver.jar and the Disruptor
std::vector<std::string> lmax_command(const std::string& folder, const std::string& main_class);
/// returns  whether `folder` holds the driver
bool lmax_built(const std::string& folder);

/// The LMAX Disruptor in a Java process of its own: lmax/src/Driver.java. Between runs its
/// threads sleep.
class lmax_driver {
  public:
    /// folder        where Maven put driver.jar and the Disruptor
    /// producer_cpu  for its producing thread, consumer_cpu for the other
    /// fails         std::runtime_error when Java can't be started
    lmax_driver(const std::string& folder, int producer_cpu, int consumer_cpu);

    /// returns  elements per second through one ring
    double rate(std::size_t batch, std::int64_t count);
    /// returns  nanoseconds per round trip over two rings
    double round_trip_ns(std::int64_t count);

  private:
    line_process _process;
};

}  // namespace weir::bench
