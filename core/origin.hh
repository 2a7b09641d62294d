// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <source_location>
#include <string>

namespace weir {

namespace detail {
// Made by the linker: where this program lies.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the linker's name
extern "C" [[gnu::visibility("hidden")]] const char __ehdr_start;
}  // namespace detail

/// Where a failure was made: a line of the source, or the function of a coroutine. Four bytes,
/// so that a future has room for it: an offset in the program.
/// thread   any
class origin {
  public:
    origin() noexcept = default;
    /// A line of the source.
    explicit origin(std::source_location where) noexcept
        : _offset(offset_of(std::bit_cast<std::uintptr_t>(where))) {}
    /// A function, by an address inside it.
    explicit origin(const void* code) noexcept
        : _offset(offset_of(reinterpret_cast<std::uintptr_t>(code)) | is_code) {}

    /// returns  "file:line, function", or a function's name; empty if nobody knows
    std::string text() const;

  private:
    static constexpr std::uint32_t is_code = 1U << 31;
    static_assert(sizeof(std::source_location) == sizeof(std::uintptr_t));

    static std::uint32_t offset_of(std::uintptr_t address) noexcept {
        const std::uintptr_t offset =
            address - reinterpret_cast<std::uintptr_t>(&detail::__ehdr_start);
        return offset < is_code ? static_cast<std::uint32_t>(offset) : 0;
    }

    std::uint32_t _offset = 0;
};

}  // namespace weir
