// SPDX-License-Identifier: Apache-2.0
#include <bench/lmax_driver.hh>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::bench {

bool lmax_driver::built(const std::string& folder) {
    return std::filesystem::exists(folder + "/driver.jar");
}

lmax_driver::lmax_driver(const std::string& folder, int producer_cpu, int consumer_cpu) {
    int to[2];
    int from[2];
    if (::pipe(to) != 0 || ::pipe(from) != 0) {
        throw std::runtime_error("lmax: no pipe");
    }
    const std::string classes = folder + "/driver.jar:" + folder + "/disruptor-4.0.0.jar";
    _process = ::fork();
    if (_process == 0) {
        ::dup2(to[0], STDIN_FILENO);
        ::dup2(from[1], STDOUT_FILENO);
        for (const int each : {to[0], to[1], from[0], from[1]}) {
            ::close(each);
        }
        ::execlp("java", "java", "-Xms256m", "-Xmx256m", "-cp", classes.c_str(), "Driver", nullptr);
        ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    _to = ::fdopen(to[1], "w");
    _from = ::fdopen(from[0], "r");
    if (_process < 0 || answer() != "ready") {
        throw std::runtime_error("lmax: java didn't start");
    }
    pin("lmax-producer", producer_cpu);
    pin("lmax-consumer", consumer_cpu);
    // The compiler of the JVM wants to see each loop several times.
    constexpr std::int64_t warm_up_elements = 2'000'000;
    constexpr std::int64_t warm_up_trips = 100'000;
    for (int round = 0; round < 5; ++round) {
        rate(1, warm_up_elements);
        rate(64, warm_up_elements / 64 * 64);
        round_trip_ns(warm_up_trips);
    }
}

lmax_driver::~lmax_driver() {
    std::fclose(_to);  // its standard input ends, and so does it
    std::fclose(_from);
    ::waitpid(_process, nullptr, 0);
}

double lmax_driver::rate(std::size_t batch, std::int64_t count) {
    return ask(fmt::format("rate {} {}\n", batch, count));
}

double lmax_driver::round_trip_ns(std::int64_t count) {
    return ask(fmt::format("round_trip {}\n", count));
}

double lmax_driver::ask(const std::string& line) {
    std::fputs(line.c_str(), _to);
    std::fflush(_to);
    return std::stod(answer());
}

std::string lmax_driver::answer() {
    char line[256];
    if (std::fgets(line, sizeof line, _from) == nullptr) {
        throw std::runtime_error("lmax: the driver went away");
    }
    std::string text(line);
    text.erase(text.find_last_not_of('\n') + 1);
    return text;
}

void lmax_driver::pin(const std::string& thread, int cpu) const {
    for (const auto& task :
         std::filesystem::directory_iterator(fmt::format("/proc/{}/task", _process))) {
        std::string name;
        std::getline(std::ifstream(task.path() / "comm"), name);
        if (name == thread) {
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(cpu, &set);
            if (::sched_setaffinity(std::stoi(task.path().filename()), sizeof set, &set) == 0) {
                return;
            }
        }
    }
    throw std::runtime_error("lmax: can't pin " + thread);
}

}  // namespace weir::bench
