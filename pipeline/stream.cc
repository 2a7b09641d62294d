// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/stream.hh>

#include <algorithm>
#include <utility>

namespace weir::pipeline::detail {

using form = stream::form;

namespace {

// A part of a ring is strided, and nobody has to look for it.
bool picks(const stream& described) {
    return described.kind == form::branch ||
           (described.kind == form::part && described.of[0]->kind != form::ring);
}

}  // namespace

stream_ptr make(stream described) {
    for (const stream_ptr& each : described.of) {
        described.picks = std::max(described.picks, each->picks);
    }
    described.picks += picks(described) ? 1 : 0;
    return std::make_shared<const stream>(std::move(described));
}

/// Some columns of a stream, without a view where the stream has them apart.
stream_ptr slice(const stream_ptr& of, std::size_t first, std::size_t columns) {
    if (first == 0 && columns == of->columns) {
        return of;
    }
    if (of->kind == form::slice) {
        return slice(of->of[0], of->first + first, columns);
    }
    if (of->kind == form::zip) {
        const std::size_t left = of->of[0]->columns;
        if (first + columns <= left) {
            return slice(of->of[0], first, columns);
        }
        if (first >= left) {
            return slice(of->of[1], first - left, columns);
        }
    }
    if (of->kind == form::merge && of->tagged && first == 0 && columns == 1) {
        return of->of[0];  // the tags that it was made by
    }
    return make({.kind = form::slice, .columns = columns, .of = {of}, .first = first});
}

stream_ptr zip(const stream_ptr& left, const stream_ptr& right) {
    return make(
        {.kind = form::zip, .columns = left->columns + right->columns, .of = {left, right}});
}

/// The elements that are dealt to one part. Parts of a zip are zips of parts, and what was dealt
/// in the same way lies apart already.
stream_ptr part(const stream_ptr& of, dealing deal, std::size_t which) {
    if (of->kind == form::zip) {
        return zip(part(of->of[0], deal, which), part(of->of[1], deal, which));
    }
    if (of->kind == form::dealt && of->deal.parts == deal.parts && of->deal.block == deal.block) {
        return of->of[which];
    }
    if (of->kind == form::part && of->deal.block == 1 && deal.block == 1) {
        const dealing both{of->deal.parts * deal.parts, 1};
        return part(of->of[0], both, of->which + which * of->deal.parts);
    }
    return make(
        {.kind = form::part, .columns = of->columns, .of = {of}, .which = which, .deal = deal});
}

/// The elements of one side of an either. Where a choice was made before, that side lies apart
/// already: or each choice of a chain would look through all those before it, three times.
stream_ptr branch(const stream_ptr& of, std::size_t first, std::size_t columns, std::size_t which) {
    if (of->kind == form::merge && of->tagged) {
        return of->of[which + 1];
    }
    return make(
        {.kind = form::branch, .columns = columns, .of = {of}, .first = first, .which = which});
}

namespace {

/// What was dealt to `parts` in turn and is still whole.
stream_ptr undealt(const std::vector<stream_ptr>& parts, dealing deal) {
    for (std::size_t which = 0; which < parts.size(); ++which) {
        const stream& each = *parts[which];
        if (each.kind != form::part || each.which != which || each.deal.parts != deal.parts ||
            each.deal.block != deal.block || each.of[0] != parts[0]->of[0]) {
            return nullptr;
        }
    }
    return parts[0]->of[0];
}

}  // namespace

/// The parts put in order again. Halves of pairs that passed through as they came lie where they
/// were dealt from: or each dealing of a chain would read the one before it by each of its copies.
stream_ptr dealt(std::vector<stream_ptr> parts, std::size_t columns, dealing deal) {
    if (const stream_ptr whole = undealt(parts, deal)) {
        return whole;
    }
    if (std::ranges::all_of(parts, [&](const stream_ptr& each) {
            return each->kind == form::zip && each->of[0]->columns == parts[0]->of[0]->columns;
        })) {
        std::vector<stream_ptr> halves[2];
        for (const stream_ptr& each : parts) {
            halves[0].push_back(each->of[0]);
            halves[1].push_back(each->of[1]);
        }
        const std::size_t left = halves[0][0]->columns;
        return zip(dealt(std::move(halves[0]), left, deal),
                   dealt(std::move(halves[1]), columns - left, deal));
    }
    return make({.kind = form::dealt, .columns = columns, .of = std::move(parts), .deal = deal});
}

}  // namespace weir::pipeline::detail
