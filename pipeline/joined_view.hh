// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include <weir/pipeline/view.hh>

// Views of several streams whose elements are taken in turns.
namespace weir::pipeline {

using views = std::vector<std::unique_ptr<view>>;

/// The parts of a stream that was dealt out, in their order again.
std::unique_ptr<view> make_dealt_view(views parts, std::size_t columns, dealing deal);

/// Branches in the order of their tags.
/// offsets  the column where each branch's columns begin
/// tagged   the tag becomes the first column
std::unique_ptr<view> make_merged_view(std::unique_ptr<view> tags, views branches,
                                       std::vector<std::size_t> offsets, std::size_t columns,
                                       bool tagged);

}  // namespace weir::pipeline
