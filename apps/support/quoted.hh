// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace apps {

/// A file's name as it is told to people: as it is where a shell would take it so, else quoted for
/// one. What could not be seen, or would break the line, is escaped.
/// source   GNU coreutils 9.1, whose tools write names in errors so
std::string quoted(std::string_view name);

}  // namespace apps
