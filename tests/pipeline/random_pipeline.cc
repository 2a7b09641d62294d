// SPDX-License-Identifier: Apache-2.0
#include <pipeline/random_pipeline.hh>

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <pipeline/random_values.hh>

#include <weir/pipeline/pipeline.hh>

namespace weir::test {

namespace {

using namespace weir::pipeline;
using weir::pipeline::shard;  // hides weir's

template <typename A, typename B>
using pure = random_pure_pipe<A, B>;
template <typename A, typename B>
using one = random_pipe<A, B>;
template <typename A, typename B>
using top = random_whole_pipe<A, B>;

/// Forgets what is known of a pipe.
template <typename To, typename From>
To as(const From& known) {
    return To(known.graph(), known.meaning());
}

/// Calls `fn.operator()<T>()` for one of the element types.
template <typename Fn>
auto with_type(chooser& choose, Fn fn) {
    switch (choose(4)) {
        case 0:
            return fn.template operator()<number>();
        case 1:
            return fn.template operator()<text>();
        case 2:
            return fn.template operator()<couple>();
        default:
            return fn.template operator()<option>();
    }
}

/// The same for what lies between two stages: half of the types each for pure pipes and others, or
/// this file would take minutes to compile.
template <template <typename, typename> typename Kind, typename Fn>
auto with_middle(chooser& choose, Fn fn) {
    if constexpr (std::is_same_v<Kind<text, text>, pure<text, text>>) {
        return choose(2) == 0 ? fn.template operator()<number>() : fn.template operator()<option>();
    } else {
        return choose(2) == 0 ? fn.template operator()<text>() : fn.template operator()<couple>();
    }
}

/// Pipes of one element each; pure ones have no state anywhere.
template <template <typename, typename> typename Kind, typename A, typename B>
Kind<A, B> grow(chooser& choose, unsigned depth);

template <typename A, typename B>
pure<A, B> leaf(chooser& choose) {
    const std::uint64_t salt = choose(1000);
    if constexpr (std::is_same_v<A, B>) {
        // Three times are enough for what is flaky.
        const auto times = [&] { return choose.total() ? 3 : 3 - choose(4); };
        switch (choose(14)) {
            case 12:  // of types that are visible: one loop where they lie on one shard
                return describe<A>(map(function<A, couple>{salt}) >>
                                   map(function<couple, A>{salt + 1}));
            case 13:
                if (!choose.total()) {
                    return describe<A>(map(fragile_function<A, option>{salt}) >>
                                       map(fragile_function<option, A>{salt + 1}));
                }
                break;
            case 10:
                return describe<A>(
                    retry(times(), named("retry map", map(flaky_function<A, A>{salt}))));
            case 11:
                return describe<A>(retry(
                    times(),
                    named("retry map_async",
                          map_async(1 + choose(5), late_flaky_function<A, A>{.salt = salt}))));
            default:
                break;
        }
    }
    switch (choose(8)) {
        default:
            return describe<A>(map(function<A, B>{salt}));
        case 6:
            return describe<A>(map_async(1 + choose(5), late_function<A, B>{salt}));
        case 7:
            if (choose.total()) {
                return describe<A>(map(function<A, B>{salt}));
            }
            return describe<A>(map(fragile_function<A, B>{salt}));
    }
}

// What every pair of types has; `shape` has more for some.
template <template <typename, typename> typename Kind, typename A, typename B>
Kind<A, B> grow_any(chooser& choose, unsigned depth) {
    constexpr bool stateful = std::is_same_v<Kind<A, B>, one<A, B>>;
    switch (choose(stateful ? 7 : 4)) {
        default:
            return as<Kind<A, B>>(leaf<A, B>(choose));
        case 1:
        case 2:
            return with_middle<Kind>(choose, [&]<typename M>() {
                const auto first = grow<Kind, A, M>(choose, depth - 1);
                return as<Kind<A, B>>(first >> grow<Kind, M, B>(choose, depth - 1));
            });
        case 3: {
            const auto inner = grow<pure, A, B>(choose, depth - 1);
            // Large blocks are taken one at a time, small ones several.
            const std::size_t block = choose(6) == 5 ? 30 + choose(5) : 1 + choose(4);
            return as<Kind<A, B>>(choose(2) == 0 ? describe<A>(shard<2>(inner, block))
                                                 : describe<A>(shard<3>(inner, block)));
        }
        case 4: {
            const auto inner = grow<one, A, B>(choose, depth - 1);
            const std::uint64_t salt = choose(1000);
            return as<Kind<A, B>>(describe<A>(
                shard_by<3>([salt](const ref<A>& each) { return hash(each) + salt; }, inner)));
        }
        case 5:
        case 6: {
            const std::uint64_t first = choose(1000);
            if constexpr (std::is_same_v<A, B>) {
                if (!choose.total() && choose.one_in(3)) {
                    return as<Kind<A, B>>(describe<A>(restart(
                        named("restart fold", fold(first, fragile_state_function<A, B>{})))));
                }
            }
            return as<Kind<A, B>>(describe<A>(fold(first, state_function<A, B>{})));
        }
    }
}

template <template <typename, typename> typename Kind, typename A, typename B>
Kind<A, B> grow(chooser& choose, unsigned depth) {
    if (depth == 0) {
        return as<Kind<A, B>>(leaf<A, B>(choose));
    }
    const std::uint32_t form = choose(6);
    if constexpr (std::is_same_v<A, B>) {
        if (form == 5 && choose.one_in(3)) {
            // In a loop what is fed back lies in the ring that it is fed to.
            const auto key = [](const ref<A>& each) { return hash(each); };
            return choose(2) == 0 ? as<Kind<A, B>>(describe<A>(id()))
                                  : as<Kind<A, B>>(describe<A>(shard_by<3>(key, id())));
        }
    }
    if constexpr (std::is_same_v<B, couple>) {
        if (form == 1 || form == 2) {
            const auto first = grow<Kind, A, number>(choose, depth - 1);
            return as<Kind<A, B>>(
                describe<A>(fanout(first, grow<Kind, A, text>(choose, depth - 1))));
        }
    }
    if constexpr (std::is_same_v<A, couple> && std::is_same_v<B, couple>) {
        if (form == 3 || form == 4) {
            const auto first = grow<Kind, number, number>(choose, depth - 1);
            return as<Kind<A, B>>(
                describe<A>(both(first, grow<Kind, text, text>(choose, depth - 1))));
        }
    }
    if constexpr (std::is_same_v<A, option>) {
        if (form == 1 || form == 2) {
            const auto left = grow<Kind, number, B>(choose, depth - 1);
            return as<Kind<A, B>>(describe<A>(merge(left, grow<Kind, text, B>(choose, depth - 1))));
        }
        if constexpr (std::is_same_v<B, option>) {
            if (form == 3 || form == 4) {
                const auto left = grow<Kind, number, number>(choose, depth - 1);
                return as<Kind<A, B>>(describe<A>(
                    weir::pipeline::choose(left, grow<Kind, text, text>(choose, depth - 1))));
            }
        }
    }
    if constexpr (std::is_same_v<Kind<A, B>, one<A, B>> && std::is_same_v<A, number> &&
                  std::is_same_v<B, number>) {
        if (form == 5) {
            using pair = std::pair<number, number>;
            std::vector<number> initial(1 + choose(4), 5);
            const auto whole = describe<pair>(map(function<pair, pair>{choose(1000)}));
            const auto side = [&]() -> one<number, number> {
                if (!choose.one_in(4)) {
                    return grow<one, number, number>(choose, depth - 1);
                }
                // What is fed back lies in the ring that it is fed to, between others.
                const auto sort = [](const number& each) {
                    return each % 3 == 0 ? either<number, number>(std::in_place_index<0>, each)
                                         : either<number, number>(std::in_place_index<1>, each);
                };
                return as<one<A, B>>(describe<number>(map(sort) >> merge(id(), id())));
            };
            const auto first = side();
            const auto halves = describe<pair>(both(first, side()));
            return choose(2) == 0 ? as<one<A, B>>(describe<A>(loop(initial, whole)))
                                  : as<one<A, B>>(describe<A>(loop(initial, whole >> halves)));
        }
    }
    return grow_any<Kind, A, B>(choose, depth);
}

/// The dead letters of a stage that skips, by their hashes.
struct mailbox {
    std::vector<std::uint64_t> letters{};
    bool ordered = true;
};
using mailboxes = std::vector<std::shared_ptr<mailbox>>;

/// What takes dead letters; its mailbox is added to the others.
auto post(mailboxes& boxes, bool ordered = true) {
    boxes.push_back(std::make_shared<mailbox>(mailbox{.ordered = ordered}));
    return [box = boxes.back()](const auto& element, const std::exception_ptr&) {
        box->letters.push_back(hash(element));
    };
}

template <typename A>
struct fragile_predicate {
    std::uint64_t salt;
    bool operator()(const ref<A>& element) const {
        return hash(fragile_function<A, number>{salt}(element)) % 3 != 0;
    }
};

/// What fails at some elements, and skips those.
template <typename A>
top<A, A> skipping(chooser& choose, mailboxes& boxes) {
    const std::uint64_t salt = choose(1000);
    switch (choose(3)) {
        default:
            return as<top<A, A>>(describe<A>(
                skip(retry(choose(3), named("skip retry map", map(flaky_function<A, A>{salt}))),
                     post(boxes))));
        case 1:
            return as<top<A, A>>(describe<A>(
                skip(named("skip filter", filter(fragile_predicate<A>{salt})), post(boxes))));
        case 2:
            return as<top<A, A>>(describe<A>(
                skip(map_async(1 + choose(5), late_fragile_function<A, A>{salt}), post(boxes))));
    }
}

/// A part of a whole pipeline.
template <typename A, typename B>
top<A, B> grow_part(chooser& choose, mailboxes& boxes) {
    const std::uint64_t salt = choose(1000);
    switch (choose(8)) {
        default:
            return as<top<A, B>>(grow<one, A, B>(choose, choose(3)));
        case 3:
            return as<top<A, B>>(describe<A>(
                named("skip map", skip(map(fragile_function<A, B>{salt}), post(boxes)))));
        case 4:
            return as<top<A, B>>(skipping<A>(choose, boxes) >> map(function<A, B>{salt}));
        case 5:
            return as<top<A, B>>(describe<A>(filter([salt](const ref<A>& each) {
                                     return mixed(hash(each) + salt) % 3 != 0;
                                 })) >>
                                 map(function<A, B>{salt}));
        case 6:
            return as<top<A, B>>(describe<A>(flat_map([salt](const ref<A>& each) {
                const std::uint64_t h = mixed(hash(each) + salt);
                return std::vector<B>(h % 4, made_of<B>(h));
            })));
        case 7:
            return as<top<A, B>>(describe<A>(window(1 + salt % 5)) >>
                                 map([salt](const std::vector<A>& each) {
                                     return made_of<B>(mixed(hash(each) + salt));
                                 }));
    }
}

/// A pipeline as a whole: what changes the number of elements may stand between the others.
template <typename A, typename B>
top<A, B> grow_top(chooser& choose, unsigned length, mailboxes& boxes) {
    if (length == 0) {
        return as<top<A, B>>(grow<one, A, B>(choose, choose(4)));
    }
    return with_type(choose, [&]<typename M>() {
        const auto rest = grow_top<M, B>(choose, length - 1, boxes);
        return as<top<A, B>>(grow_part<A, M>(choose, boxes) >> rest);
    });
}

/// What gives its elements in any order, and never fails.
template <typename A>
top<A, A> unordered_part(chooser& choose, mailboxes& boxes) {
    const std::size_t window = 1 + choose(8);
    const std::uint64_t salt = choose(1000);
    return choose(2) == 0
               ? as<top<A, A>>(describe<A>(map_unordered(window, late_function<A, A>{salt})))
               : as<top<A, A>>(
                     describe<A>(skip(map_unordered(window, late_fragile_function<A, A>{salt}),
                                      post(boxes, false))));
}

std::string text_of(const node& what) {
    using form = node::form;
    std::string inner;
    for (const node_ptr& each : what.of) {
        inner += (inner.empty()                 ? ""
                  : what.kind == form::sequence ? " >> "
                                                : ", ") +
                 text_of(*each);
    }
    switch (what.kind) {
        case form::id:
            return "id";
        case form::work:
            return what.name;
        case form::async:
            return fmt::format("{}<{}>", what.name, what.window);
        case form::sequence:
            return inner;
        case form::shard:
            return fmt::format("shard<{}, {}>({})", what.deal.parts, what.deal.block, inner);
        case form::loop:
            return fmt::format("loop<{}>({})", what.initial.count, inner);
        default:
            return fmt::format("{}({})", what.name, inner);
    }
}

std::string message_of(const std::exception_ptr& failure) {
    if (!failure) {
        return "";
    }
    try {
        std::rethrow_exception(failure);
    } catch (const std::exception& known) {
        return known.what();
    }
}

/// Empties mailboxes.
/// returns  the letters of each, in an order that is the same each time
std::vector<std::vector<std::uint64_t>> collected(const mailboxes& boxes) {
    std::vector<std::vector<std::uint64_t>> letters;
    for (const auto& each : boxes) {
        letters.push_back(std::exchange(each->letters, {}));
        if (!each->ordered) {
            std::ranges::sort(letters.back());
        }
    }
    return letters;
}

template <typename A, typename B>
struct checked_case {
    top<A, B> pipe;
    std::vector<A> in;
    deploy_options options;
    bool ordered;
    mailboxes boxes;
};

template <typename A, typename B>
future<std::string> hold_against_model(checked_case<A, B> held) {
    collected(held.boxes);
    listed<B> expected = co_await model(held.pipe, held.in);
    const auto letters = collected(held.boxes);
    std::vector<B> out;
    std::exception_ptr failure;
    try {
        co_await run(from_list(held.in) >> held.pipe >> collect(out), held.options);
    } catch (...) {
        failure = std::current_exception();
    }
    if (!held.ordered) {
        std::ranges::sort(expected.values);
        std::ranges::sort(out);
    }
    // When several stages fail at one element, the model names the first stage, a deployment the
    // left strand: both only if there is a failure at all.
    if ((failure == nullptr) != (expected.failure == nullptr)) {
        co_return fmt::format("failed with '{}', not '{}'", message_of(failure),
                              message_of(expected.failure));
    }
    if (out.size() != expected.values.size()) {
        co_return fmt::format("gave {} elements, not {}", out.size(), expected.values.size());
    }
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (out[i] != expected.values[i]) {
            co_return fmt::format("element {} differs", i);
        }
    }
    // Of a stream that fails, elements that came to nothing may have left letters.
    if (!failure && collected(held.boxes) != letters) {
        co_return "other dead letters";
    }
    co_return "";
}

}  // namespace

template <typename A, typename B>
random_pure_pipe<A, B> random_pure(chooser& choose, unsigned depth) {
    return grow<pure, A, B>(choose, depth);
}
template <typename A, typename B>
random_pipe<A, B> random_stateful(chooser& choose, unsigned depth) {
    return grow<one, A, B>(choose, depth);
}
template <typename A, typename B>
random_whole_pipe<A, B> random_whole(chooser& choose, unsigned length) {
    mailboxes unread;
    return grow_top<A, B>(choose, length, unread);
}
template pure<number, number> random_pure(chooser&, unsigned);
template pure<number, text> random_pure(chooser&, unsigned);
template pure<text, number> random_pure(chooser&, unsigned);
template pure<text, text> random_pure(chooser&, unsigned);
template one<number, number> random_stateful(chooser&, unsigned);
template one<number, text> random_stateful(chooser&, unsigned);
template one<text, number> random_stateful(chooser&, unsigned);
template one<text, text> random_stateful(chooser&, unsigned);
template top<number, text> random_whole(chooser&, unsigned);
template top<text, number> random_whole(chooser&, unsigned);

deploy_options random_deployment(chooser& choose, unsigned shards) {
    deploy_options options;
    constexpr std::array<std::size_t, 3> large = {64, 4096, 65536};
    options.capacity = choose(3) == 2 ? large[choose(large.size())] : 1 + choose(8);
    options.batch = choose(4) == 3 ? max_batch : 1 + choose(20);
    constexpr std::array polls = {0U, 1U, 50U, 1000U};
    options.polls = polls[choose(polls.size())];
    options.fuse = choose(2) == 0;
    options.where.how = choose(2) == 0 ? placement::policy::spread : placement::policy::pack;
    options.where.base = choose(shards);
    return options;
}

std::size_t random_length(chooser& choose, std::size_t capacity) {
    const std::size_t near = capacity - 1 + choose(3);
    return choose(3) == 0 && near < 100 ? near : choose(choose(8) == 7 ? 400 : 40);
}

/// A shard at random for each stage.
placement random_list(chooser& choose, program what, unsigned shards) {
    std::size_t stages = 0;
    for (const stage_plan& each : lay_out(std::move(what), {.fuse = false}, shards).stages) {
        stages += each.numbers.size();
    }
    placement listed{.how = placement::policy::listed};
    for (std::size_t i = 0; i < stages; ++i) {
        listed.shards.push_back(choose(shards));
    }
    return listed;
}

random_case make_random_case(chooser& choose, unsigned shards) {
    return with_type(choose, [&]<typename A>() {
        return with_type(choose, [&]<typename B>() {
            mailboxes boxes;
            auto p = grow_top<A, B>(choose, choose(3), boxes);
            const bool ordered = !choose.one_in(5);
            if (!ordered) {
                p = as<top<A, B>>(p >> unordered_part<B>(choose, boxes));
            }
            deploy_options options = random_deployment(choose, shards);
            std::vector<A> in = random_elements<A>(choose, random_length(choose, options.capacity));
            if (choose(3) == 2) {
                std::vector<B> unused;
                options.where = random_list(
                    choose, from_list(std::vector<A>()) >> p >> collect(unused), shards);
            }
            std::string text = fmt::format("{} of {} elements, {}", text_of(*p.graph()), in.size(),
                                           text_of(options));
            return random_case{
                std::move(text),
                [held = checked_case<A, B>{p, std::move(in), options, ordered, std::move(boxes)}] {
                    return hold_against_model(held);
                }};
        });
    });
}

std::string text_of(const deploy_options& options) {
    const placement& where = options.where;
    return fmt::format(
        "capacity {}, batch {}, polls {}{}, {}", options.capacity, options.batch, options.polls,
        options.fuse ? ", fused" : "",
        where.how == placement::policy::listed
            ? fmt::format("on shards {}", fmt::join(where.shards, " "))
            : fmt::format("{} from {} on",
                          where.how == placement::policy::spread ? "spread" : "packed",
                          where.base.value_or(0)));
}

}  // namespace weir::test
