// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace weir {

/// The calls that led somewhere, innermost first, with the names of functions as the program's own
/// symbol table has them: no build option is needed, only that it wasn't stripped.
class backtrace {
  public:
    static constexpr std::size_t frames_max = 48;

    backtrace() noexcept = default;
    /// Of who calls this.
    /// skipped   innermost calls that are of no interest
    /// cost      some microseconds; the first one loads a library: a signal handler asks warm_up()
    ///           before
    static backtrace here(std::size_t skipped = 0) noexcept;
    static void warm_up() noexcept { (void)here(); }
    /// Of addresses that were found otherwise.
    static backtrace of(std::span<void* const> frames) noexcept;

    bool empty() const noexcept { return _count == 0; }
    std::span<void* const> frames() const noexcept { return {_frames.data(), _count}; }

    /// For people: demangled, in one line, at most `bytes_max` long.
    std::string text(std::size_t bytes_max = 3000) const;
    /// A line for each call, as the linker calls the functions. A signal handler may ask.
    void write(int descriptor) const noexcept;

  private:
    std::size_t _count = 0;
    std::array<void*, frames_max> _frames{};
};

/// A function or object of the program, by an address in it.
struct symbol {
    std::array<char, 400> name{};  ///< as the linker calls it; empty if nobody knows
    std::size_t offset = 0;        ///< of the address in it
};
/// thread   any; a signal handler may ask
/// cost     reads the program's table of symbols: milliseconds
symbol symbol_of(const void* address) noexcept;
/// returns  a linker's name as people write it
std::string demangled(const char* name);
/// Whether the program's code lies at `address`.
/// thread   any; a signal handler may ask
bool is_code(const void* address) noexcept;
/// Reads this process's own memory, even where it may be gone.
/// returns  whether it was there
/// thread   any; a signal handler may ask
bool read_own_memory(const void* from, void* to, std::size_t bytes) noexcept;

}  // namespace weir
