// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

/// The memory of simulated hosts. A program linked with weir_sim_memory tags each allocation
/// with the host that runs, so that a killed host's memory goes back as a list, without
/// destructors: a power cut flushes nothing. Without that library, killing a host leaks it.
///
/// A block that is freed twice, late (its host's memory has gone) or by another host than its own
/// ends the program with a message that says which. The world may free what a host left, and a
/// host what the world gave it.
namespace weir::io::sim::memory {

struct block;

/// What one incarnation of a host has allocated.
struct arena {
    block* first = nullptr;
    std::size_t blocks = 0;
    std::size_t bytes = 0;
};

/// Makes `next` the arena of what this thread allocates from here on; null is the world's own.
/// returns  the arena until now
arena* enter(arena* next) noexcept;
arena* current() noexcept;

/// Whether the program is linked with weir_sim_memory.
bool tagged() noexcept;
/// Frees every block of the arena without running a destructor.
void free_all(arena& gone) noexcept;
/// Fills new memory with `fill` and lays blocks out otherwise for each `salt`; 0 is as malloc.
/// What a run does may depend on neither.
void perturb(std::uint8_t fill, std::uint64_t salt) noexcept;

/// Whose allocations may fail.
enum class scarce_for : std::uint8_t { hosts, all };
/// After `first` more of this thread's allocations lets `times` of them fail: of those of hosts, or
/// where no world is simulated, of all. Needs weir_sim_memory.
void fail(std::uint64_t first, std::uint64_t times, scarce_for whom = scarce_for::hosts) noexcept;
/// Lets all succeed again.
/// returns  how many failed since fail()
std::uint64_t stop_failing() noexcept;

/// While it lives, what this thread allocates is the world's and survives the host. The
/// simulator uses it at its borders; a test does too, where code of a host records something.
class outside {
  public:
    outside() noexcept : _before(enter(nullptr)) {}
    ~outside() { enter(_before); }
    outside(const outside&) = delete;
    outside& operator=(const outside&) = delete;

  private:
    arena* _before;
};

/// While it lives, what this thread allocates is the host's.
class inside {
  public:
    explicit inside(arena& host) noexcept : _before(enter(&host)) {}
    ~inside() { enter(_before); }
    inside(const inside&) = delete;
    inside& operator=(const inside&) = delete;

  private:
    arena* _before;
};

/// For weir_sim_memory: blocks that are no longer used and not yet given back.
struct kept_blocks {
    block* oldest = nullptr;
    block* newest = nullptr;
    std::size_t bytes = 0;
};

/// For weir_sim_memory: what operator new obeys.
struct thread_state {
    arena* current = nullptr;
    std::uint8_t fill = 0;
    std::uint64_t salt = 0;
    std::uint64_t count = 0;
    std::uint64_t first_to_fail = 0;  // once so many more have succeeded
    std::uint64_t to_fail = 0;
    std::uint64_t failed = 0;
    scarce_for whom = scarce_for::hosts;
    kept_blocks freed;
    kept_blocks gone;
};
thread_state& this_thread() noexcept;
/// For weir_sim_memory: says that it is there.
void install(void (*free_all)(arena&) noexcept) noexcept;

}  // namespace weir::io::sim::memory
