// SPDX-License-Identifier: Apache-2.0
#include <bench/line_process.hh>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::bench {

line_process::line_process(const std::vector<std::string>& command, const std::vector<int>& cpus)
    : _name(command.at(0)) {
    int to[2];
    int from[2];
    // Closed on exec: another driver must not hold our end of this one's input.
    if (::pipe2(to, O_CLOEXEC) != 0 || ::pipe2(from, O_CLOEXEC) != 0) {
        throw std::runtime_error(_name + ": no pipe");
    }
    std::vector<char*> arguments;
    for (const std::string& each : command) {
        arguments.push_back(const_cast<char*>(each.c_str()));
    }
    arguments.push_back(nullptr);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int each : cpus) {
        CPU_SET(each, &set);
    }
    _process = ::fork();
    if (_process == 0) {
        ::dup2(to[0], STDIN_FILENO);
        ::dup2(from[1], STDOUT_FILENO);
        if (!cpus.empty()) {
            ::sched_setaffinity(0, sizeof set, &set);
        }
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    _to = ::fdopen(to[1], "w");
    _from = ::fdopen(from[0], "r");
    if (_process < 0 || answer() != "ready") {
        throw std::runtime_error(_name + " didn't start");
    }
}

line_process::~line_process() {
    std::fclose(_to);  // its standard input ends, and so does it
    std::fclose(_from);
    ::waitpid(_process, nullptr, 0);
}

double line_process::ask(const std::string& line) {
    return ask_all(line).at(0);
}

std::vector<double> line_process::ask_all(const std::string& line) {
    std::fputs(line.c_str(), _to);
    std::fputc('\n', _to);
    std::fflush(_to);
    std::istringstream words(answer());
    std::vector<double> numbers;
    for (double each = 0; words >> each;) {
        numbers.push_back(each);
    }
    if (numbers.empty()) {
        throw std::runtime_error(fmt::format("{}: no answer to \"{}\"", _name, line));
    }
    return numbers;
}

std::string line_process::answer() {
    char line[256];
    if (std::fgets(line, sizeof line, _from) == nullptr) {
        throw std::runtime_error(_name + ": the driver went away");
    }
    std::string text(line);
    text.erase(text.find_last_not_of('\n') + 1);
    return text;
}

void line_process::pin(const std::string& thread, int cpu) const {
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
    throw std::runtime_error(fmt::format("{}: can't pin {}", _name, thread));
}

}  // namespace weir::bench
