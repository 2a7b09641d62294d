// SPDX-License-Identifier: Apache-2.0
#include <tests/support/death.hh>

#include <array>
#include <csignal>
#include <cstdio>

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace weir::test {

std::string last_words(const std::function<void()>& deed) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe(ends.data()) == 0);
    std::fflush(nullptr);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // doctest's handler would take the signal for a failure of this case.
        for (const int deadly : {SIGABRT, SIGSEGV, SIGBUS}) {
            std::signal(deadly, SIG_DFL);
        }
        ::dup2(ends[1], STDERR_FILENO);
        deed();
        ::_exit(0);
    }
    ::close(ends[1]);
    std::string words;
    std::array<char, 4096> part{};
    for (ssize_t got = 0; (got = ::read(ends[0], part.data(), part.size())) > 0;) {
        words.append(part.data(), static_cast<std::size_t>(got));
    }
    ::close(ends[0]);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    // A sanitizer that finds the deed first ends the process with a status instead.
    const bool died = WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 0);
    return died ? words : "it lives";
}

}  // namespace weir::test
