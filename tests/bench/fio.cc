// SPDX-License-Identifier: Apache-2.0
#include <bench/fio.hh>

#include <cstdio>
#include <exception>
#include <sstream>

#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>
#include <fmt/format.h>

namespace weir::bench {

namespace {

using tree = boost::property_tree::ptree;

std::optional<std::string> output_of(const std::string& command) {
    std::FILE* const pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr) {
        return std::nullopt;
    }
    std::string text;
    char part[4096];
    while (const std::size_t count = std::fread(part, 1, sizeof part, pipe)) {
        text.append(part, count);
    }
    if (::pclose(pipe) != 0) {
        return std::nullopt;
    }
    return text;
}

fio_figures figures_of(const tree& job) {
    const tree& reads = job.get_child("read");
    const bool writes = reads.get<double>("total_ios") == 0;
    const tree& side = writes ? job.get_child("write") : reads;
    const auto operations = side.get<double>("total_ios");
    // Percentiles have points in their names, so that '/' separates here.
    const auto latency = [&side](const char* percentile) {
        return side.get<double>(
            tree::path_type(fmt::format("lat_ns/percentile/{}", percentile), '/'), 0.0);
    };
    fio_figures found;
    found.per_second = side.get<double>("iops");
    found.p50_ns = latency("50.000000");
    found.p99_ns = latency("99.000000");
    found.mean_ns = side.get<double>("runtime") * 1e6 / operations;
    const double busy_percent = job.get<double>("usr_cpu") + job.get<double>("sys_cpu");
    found.cpu_ns_per_op = busy_percent / 100 * job.get<double>("job_runtime") * 1e6 / operations;
    return found;
}

}  // namespace

std::optional<fio_figures> run_fio(const std::string& arguments, double seconds, int cpu) {
    const auto report = output_of(fmt::format(
        "fio --name=job --bs=4k --lat_percentiles=1 --time_based --runtime={}ms --cpus_allowed={} "
        "--output-format=json {} 2>/dev/null",
        static_cast<long>(seconds * 1000), cpu, arguments));
    if (!report) {
        return std::nullopt;
    }
    try {
        std::istringstream text(*report);
        tree parsed;
        boost::property_tree::read_json(text, parsed);
        return figures_of(parsed.get_child("jobs").front().second);
    } catch (const std::exception& problem) {
        fmt::print(stderr, "bench: fio's report: {}\n", problem.what());
        return std::nullopt;
    }
}

}  // namespace weir::bench
