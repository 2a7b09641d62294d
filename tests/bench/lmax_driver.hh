// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>

#include <sys/types.h>

namespace weir::bench {

/// The LMAX Disruptor in a Java process of its own: lmax/src/Driver.java. Between runs its
/// threads sleep.
class lmax_driver {
  public:
    /// folder        where Maven put driver.jar and the Disruptor
    /// producer_cpu  for its producing thread, consumer_cpu for the other
    /// fails         std::runtime_error when Java can't be started
    lmax_driver(const std::string& folder, int producer_cpu, int consumer_cpu);
    ~lmax_driver();
    lmax_driver(const lmax_driver&) = delete;
    lmax_driver& operator=(const lmax_driver&) = delete;

    /// returns  whether `folder` holds the driver
    static bool built(const std::string& folder);

    /// returns  elements per second through one ring
    double rate(std::size_t batch, std::int64_t count);
    /// returns  nanoseconds per round trip over two rings
    double round_trip_ns(std::int64_t count);

  private:
    std::string answer();
    double ask(const std::string& line);
    void pin(const std::string& thread, int cpu) const;

    pid_t _process = -1;
    std::FILE* _to = nullptr;
    std::FILE* _from = nullptr;
};

}  // namespace weir::bench
