// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include <broker/server/options.hh>

#include <weir/io/run.hh>

namespace weir::broker {

struct command_line {
    broker_options broker;
    io::run_options run;
    std::optional<int> exit_code;  ///< set when there is nothing to run: --help, or a mistake
};

/// Reads flags, environment (WEIR_...) and a TOML file (--config), in that order of precedence.
/// What there is to say about mistakes and --help is printed.
command_line parse_command_line(int argc, char** argv);

}  // namespace weir::broker
