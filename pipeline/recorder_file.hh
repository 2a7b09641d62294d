// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace weir::pipeline {

/// CSS of a recording, around its picture.
extern const char recording_style[];
/// JavaScript that plays `recording` in the file that it stands in.
extern const char recording_script[];

}  // namespace weir::pipeline
