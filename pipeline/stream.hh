// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include <weir/pipeline/element.hh>

namespace weir::pipeline {

/// How the elements of a stream lie in the rings of stages: plain data, which a reader turns into
/// a view. Nothing is copied where streams meet or part: that is what views are for.
struct stream;
using stream_ptr = std::shared_ptr<const stream>;

/// Deals elements out in turn: element i goes to part (i / block) % parts.
struct dealing {
    std::size_t parts = 1;
    std::size_t block = 1;
};

struct stream {
    enum class form : std::uint8_t {
        ring,     ///< what a stage writes
        slice,    ///< some columns of `of[0]`
        zip,      ///< the columns of `of[0]`, then those of `of[1]`
        part,     ///< the elements of `of[0]` that `dealt` gives to part `which`
        dealt,    ///< the parts put in order again
        branch,   ///< the elements of `of[0]` whose tag, in its first column, is `which`
        merge,    ///< the branches `of[1..]` in the order of the tags of `of[0]`
        delayed,  ///< `initial`, then what `of[0]` gives
    };

    form kind = form::ring;
    std::size_t columns = 0;
    std::vector<stream_ptr> of{};
    unsigned stage = 0;                        ///< ring: the stage that writes it
    std::size_t first = 0;                     ///< slice, branch: the first column kept
    std::size_t which = 0;                     ///< part, branch
    dealing deal{};                            ///< part, dealt
    bool tagged = false;                       ///< merge: the tag becomes the first column
    std::size_t initial = 0;                   ///< delayed: how many elements come first
    const std::byte* const* values = nullptr;  ///< delayed: for each column, those elements
    std::vector<std::size_t> sizes{};          ///< delayed: for each column, bytes of one
};

}  // namespace weir::pipeline
