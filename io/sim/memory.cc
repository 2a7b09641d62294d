// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/memory.hh>

namespace weir::io::sim::memory {

namespace {

// operator new has no argument to hang this from: the one place where the simulator needs what
// it forbids everybody else.
constinit thread_local thread_state state{};
using free_function = void (*)(arena&) noexcept;
constinit free_function free_hook = nullptr;

}  // namespace

arena* enter(arena* next) noexcept {
    arena* before = state.current;
    state.current = next;
    return before;
}

arena* current() noexcept {
    return state.current;
}

thread_state& this_thread() noexcept {
    return state;
}

bool tagged() noexcept {
    return free_hook != nullptr;
}

void free_all(arena& gone) noexcept {
    if (tagged()) {
        free_hook(gone);
    }
}

void perturb(std::uint8_t fill, std::uint64_t salt) noexcept {
    state.fill = fill;
    state.salt = salt;
    state.count = 0;
}

void fail(std::uint64_t first, std::uint64_t times, scarce_for whom) noexcept {
    state.whom = whom;
    state.first_to_fail = first;
    state.to_fail = times;
    state.failed = 0;
}

std::uint64_t stop_failing() noexcept {
    state.to_fail = 0;
    return state.failed;
}

void install(void (*free_all)(arena&) noexcept) noexcept {
    free_hook = free_all;
}

}  // namespace weir::io::sim::memory
