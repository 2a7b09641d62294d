// SPDX-License-Identifier: Apache-2.0
#include <pipeline/random_pipeline.hh>

#include <stdexcept>
#include <utility>
#include <variant>

#include <fmt/format.h>

#include <weir/core/sleep.hh>
#include <weir/pipeline/pipeline.hh>

namespace weir::test {

namespace {

using namespace weir::pipeline;
using weir::pipeline::shard;  // hides weir's

// The element types: something that is destroyed for nothing, something that owns memory, and
// both ways to put the two together.
using number = std::int64_t;
using text = std::string;
using couple = std::pair<number, text>;
using option = either<number, text>;

constexpr traits pure_traits{};
constexpr traits one_traits{.stateful = true};
constexpr traits top_traits{.yields = rate::any, .stateful = true};
template <typename A, typename B>
using pure = pipe<A, B, pure_traits>;
template <typename A, typename B>
using one = pipe<A, B, one_traits>;
template <typename A, typename B>
using top = pipe<A, B, top_traits>;

/// Forgets what is known of a pipe.
template <typename To, typename From>
To as(const From& known) {
    return To(known.graph(), known.meaning());
}

std::uint64_t mixed(std::uint64_t h) {
    h = (h ^ (h >> 31)) * 0x7fb5d329728ea185;
    return h ^ (h >> 27);
}
std::uint64_t hash(number value) {
    return mixed(static_cast<std::uint64_t>(value) + 1);
}
std::uint64_t hash(const text& value) {
    std::uint64_t h = value.size();
    for (const char each : value) {
        h = mixed(h * 31 + static_cast<unsigned char>(each));
    }
    return h;
}
template <typename A, typename B>
std::uint64_t hash(const std::pair<A, B>& value) {
    return mixed(hash(value.first) * 3 + hash(value.second));
}
template <typename A, typename B>
std::uint64_t hash(const std::variant<A, B>& value) {
    return value.index() == 0 ? mixed(hash(std::get<0>(value)) + 7)
                              : mixed(hash(std::get<1>(value)) + 11);
}
template <typename T>
std::uint64_t hash(const std::reference_wrapper<const T>& value) {
    return hash(value.get());
}
template <typename T>
std::uint64_t hash(const std::vector<T>& values) {
    std::uint64_t h = values.size();
    for (const T& each : values) {
        h = mixed(h * 31 + hash(each));
    }
    return h;
}

template <typename T>
T made_of(std::uint64_t h) {
    if constexpr (std::is_same_v<T, number>) {
        return static_cast<number>(h % 1000);
    } else if constexpr (std::is_same_v<T, text>) {
        return std::string(h % 40, static_cast<char>('a' + h % 26));
    } else if constexpr (requires { typename T::first_type; }) {
        return {made_of<typename T::first_type>(h), made_of<typename T::second_type>(mixed(h))};
    } else {
        return h % 2 == 0 ? T(std::in_place_index<0>, made_of<number>(mixed(h)))
                          : T(std::in_place_index<1>, made_of<text>(mixed(h)));
    }
}

/// Any function from A to B.
template <typename A, typename B>
struct function {
    std::uint64_t salt;
    B operator()(const ref<A>& element) const { return made_of<B>(mixed(hash(element) + salt)); }
};
/// The same, but some elements it can't bear.
template <typename A, typename B>
struct fragile_function {
    std::uint64_t salt;
    B operator()(const ref<A>& element) const {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h % 16 == 0) {
            throw std::runtime_error(fmt::format("fragile {} at {}", salt, h));
        }
        return made_of<B>(h);
    }
};
template <typename A, typename B>
struct late_function {
    std::uint64_t salt;
    future<B> operator()(const ref<A>& element) const {
        const std::uint64_t h = mixed(hash(element) + salt);
        if (h % 3 != 0) {
            return make_ready_future<B>(made_of<B>(h));
        }
        return sleep_for(std::chrono::microseconds(h % 20)).then([h] { return made_of<B>(h); });
    }
};
template <typename A, typename B>
struct state_function {
    B operator()(std::uint64_t& state, const ref<A>& element) const {
        state = mixed(state + hash(element));
        return made_of<B>(state);
    }
};

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
    switch (choose(8)) {
        default:
            return describe<A>(map(function<A, B>{salt}));
        case 6:
            return describe<A>(map_async(1 + choose(5), late_function<A, B>{salt}));
        case 7:
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
            const std::size_t block = 1 + choose(4);
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
        case 6:
            return as<Kind<A, B>>(
                describe<A>(fold(std::uint64_t{choose(1000)}, state_function<A, B>{})));
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
            return as<Kind<A, B>>(describe<A>(id()));
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
            const auto halves = describe<pair>(both(grow<one, number, number>(choose, depth - 1),
                                                    grow<one, number, number>(choose, depth - 1)));
            return choose(2) == 0 ? as<one<A, B>>(describe<A>(loop(initial, whole)))
                                  : as<one<A, B>>(describe<A>(loop(initial, whole >> halves)));
        }
    }
    return grow_any<Kind, A, B>(choose, depth);
}

/// A pipeline as a whole: what changes the number of elements may stand between the others.
template <typename A, typename B>
top<A, B> grow_top(chooser& choose, unsigned length) {
    if (length == 0) {
        return as<top<A, B>>(grow<one, A, B>(choose, choose(4)));
    }
    return with_type(choose, [&]<typename M>() {
        const auto rest = grow_top<M, B>(choose, length - 1);
        const std::uint64_t salt = choose(1000);
        switch (choose(4)) {
            default:
                return as<top<A, B>>(grow<one, A, M>(choose, choose(3)) >> rest);
            case 1:
                return as<top<A, B>>(describe<A>(filter([salt](const ref<A>& each) {
                                         return mixed(hash(each) + salt) % 3 != 0;
                                     })) >>
                                     map(function<A, M>{salt}) >> rest);
            case 2:
                return as<top<A, B>>(describe<A>(flat_map([salt](const ref<A>& each) {
                                         const std::uint64_t h = mixed(hash(each) + salt);
                                         return std::vector<M>(h % 4, made_of<M>(h));
                                     })) >>
                                     rest);
            case 3:
                return as<top<A, B>>(describe<A>(window(1 + salt % 5)) >>
                                     map([salt](const std::vector<A>& each) {
                                         return made_of<M>(mixed(hash(each) + salt));
                                     }) >>
                                     rest);
        }
    });
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

template <typename A, typename B>
future<std::string> hold_against_model(top<A, B> p, std::vector<A> in, deploy_options options) {
    const listed<B> expected = co_await model(p, in);
    std::vector<B> out;
    std::exception_ptr failure;
    try {
        co_await run(from_list(in) >> p >> collect(out), options);
    } catch (...) {
        failure = std::current_exception();
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
    co_return "";
}

}  // namespace

random_case make_random_case(chooser& choose, unsigned shards) {
    return with_type(choose, [&]<typename A>() {
        return with_type(choose, [&]<typename B>() {
            const auto p = grow_top<A, B>(choose, choose(3));
            deploy_options options;
            options.capacity = choose(3) == 2 ? 64 : 1 + choose(8);
            options.batch = 1 + choose(20);
            options.polls = choose(2) * 50;
            options.fuse = choose(2) == 0;
            options.where.how =
                choose(2) == 0 ? placement::policy::spread : placement::policy::pack;
            options.where.base = choose(shards);
            const std::size_t near = options.capacity - 1 + choose(3);
            const std::size_t length = choose(3) == 0 ? near : choose(40);
            std::vector<A> in;
            const std::uint64_t salt = choose(1000);
            for (std::size_t i = 0; i < length; ++i) {
                in.push_back(made_of<A>(mixed(i + salt)));
            }
            return random_case{
                fmt::format("{} of {} elements, capacity {}, batch {}, polls {}, {}{}, base {}",
                            text_of(*p.graph()), in.size(), options.capacity, options.batch,
                            options.polls,
                            options.where.how == placement::policy::spread ? "spread" : "pack",
                            options.fuse ? ", fused" : "", options.where.base),
                [p, in, options] { return hold_against_model<A, B>(p, in, options); }};
        });
    });
}

}  // namespace weir::test
