// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/crash_note.hh>

#include <algorithm>
#include <csignal>
#include <cstring>

#include <unistd.h>

// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the sanitizers'
extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*callback)());

namespace weir::io::sim {

namespace {

// A signal handler has no argument to hang these from.
constinit char note[256] = {};
constinit struct sigaction before = {};

void print_note() {
    if (note[0] != 0) {
        [[maybe_unused]] const auto written = ::write(STDERR_FILENO, note, std::strlen(note));
    }
}

void on_abort(int signal) {
    print_note();
    ::sigaction(SIGABRT, &before, nullptr);
    ::raise(signal);
}

}  // namespace

void crash_note(std::string_view text) {
    if (text.empty()) {
        if (note[0] != 0) {
            ::sigaction(SIGABRT, &before, nullptr);
        }
        note[0] = 0;
        return;
    }
    if (note[0] == 0) {
        struct sigaction action = {};
        action.sa_handler = on_abort;
        ::sigaction(SIGABRT, &action, &before);
        if (__sanitizer_set_death_callback != nullptr) {
            __sanitizer_set_death_callback(print_note);
        }
    }
    const std::size_t length = std::min(text.size(), sizeof(note) - 2);
    std::memcpy(note, text.data(), length);
    note[length] = '\n';
    note[length + 1] = 0;
}

}  // namespace weir::io::sim
