// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include <sys/types.h>

namespace weir::bench {

/// A peer's driver in a process of its own: a line asks it for one run, a line answers, so that
/// ours and theirs take turns. It starts with the line "ready", and ends with its input.
class line_process {
  public:
    /// command  program and arguments
    /// cpus     that the process may use; none: as this one
    /// fails    std::runtime_error when it can't be started
    explicit line_process(const std::vector<std::string>& command,
                          const std::vector<int>& cpus = {});
    ~line_process();
    line_process(const line_process&) = delete;
    line_process& operator=(const line_process&) = delete;

    /// fails    std::runtime_error when it went away or answers no number
    double ask(const std::string& line);
    /// For answers of more than one number.
    std::vector<double> ask_all(const std::string& line);
    /// Binds one of its threads, known by its name, to a CPU.
    void pin(const std::string& thread, int cpu) const;

  private:
    std::string answer();

    std::string _name;
    pid_t _process = -1;
    std::FILE* _to = nullptr;
    std::FILE* _from = nullptr;
};

}  // namespace weir::bench
