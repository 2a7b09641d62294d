// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace CLI {  // NOLINT(readability-identifier-naming): CLI11's
class App;       // NOLINT(readability-identifier-naming): CLI11's
class Option;    // NOLINT(readability-identifier-naming): CLI11's
}  // namespace CLI

// Numbers on command lines: CLI11 alone takes -1 for the largest one, what is larger than that for
// the largest, too, nothing at all for 0, and nan for a number of any range.
namespace apps {

/// Has an option refuse what is no whole number of a range, which its help tells.
void between(CLI::Option& option, std::uint64_t least, std::uint64_t most);

/// Has each option that takes a number refuse what is none. For all options that are there, those
/// of groups and subcommands too.
void check_numbers(CLI::App& of);

}  // namespace apps
