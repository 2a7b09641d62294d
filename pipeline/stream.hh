// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
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

    /// How many of the first `position` elements go to `part`.
    std::size_t before(std::size_t part, std::size_t position) const noexcept {
        const std::size_t round = parts * block;
        const std::size_t first = part * block;
        const std::size_t in_round = std::max(position % round, first);
        return position / round * block + std::min(in_round - first, block);
    }
    /// Where the n-th element, from 0 on, of `part` stands among all.
    std::size_t place(std::size_t part, std::size_t n) const noexcept {
        return n / block * block * parts + part * block + n % block;
    }
    /// How many of `max` elements from `position` on to handle at once: blocks that are worth a
    /// batch are taken one at a time, since their elements lie side by side.
    std::size_t side_by_side(std::size_t position, std::size_t max) const noexcept {
        return block < batch_worth ? max : std::min(max, block - position % block);
    }

  private:
    static constexpr std::size_t batch_worth = 32;
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
    /// Views that look for some elements among those of another, one behind the other.
    unsigned picks = 0;
};

namespace detail {

/// One of a form, with what follows from those that it is of.
stream_ptr make(stream described);
/// Some columns of a stream, without a view where the stream has them apart.
stream_ptr slice(const stream_ptr& of, std::size_t first, std::size_t columns);
stream_ptr zip(const stream_ptr& left, const stream_ptr& right);
/// The elements that are dealt to one part.
stream_ptr part(const stream_ptr& of, dealing deal, std::size_t which);
/// The elements of one side of an either.
stream_ptr branch(const stream_ptr& of, std::size_t first, std::size_t columns, std::size_t which);
/// The parts put in order again.
stream_ptr dealt(std::vector<stream_ptr> parts, std::size_t columns, dealing deal);

}  // namespace detail

}  // namespace weir::pipeline
