// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::test {

/// How a process ended, and what it wrote to its stdout and stderr.
struct child_end {
    int exit_status = -1;  ///< -1: it ended by `signal`
    int signal = 0;
    std::string said;

    bool says(std::string_view text) const { return said.find(text) != std::string::npos; }
};

/// Runs `body` in a process of its own, which exits with what it returns.
/// thread   of a process with no other one
inline child_end in_child(const std::function<int()>& body) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // The test's own handlers are for the test's own ends.
        for (const int each : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTERM, SIGINT}) {
            std::signal(each, SIG_DFL);
        }
        ::dup2(ends[1], STDOUT_FILENO);
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[0]);
        ::close(ends[1]);
        ::_exit(body());
    }
    ::close(ends[1]);
    child_end result;
    char bytes[4096];
    for (ssize_t count = 0; (count = ::read(ends[0], bytes, sizeof bytes)) > 0;) {
        result.said.append(bytes, static_cast<std::size_t>(count));
    }
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (WIFEXITED(status)) {
        result.exit_status = WEXITSTATUS(status);
    } else {
        result.signal = WTERMSIG(status);
    }
    return result;
}

}  // namespace weir::test
