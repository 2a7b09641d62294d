// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <weir/pipeline/batch.hh>
#include <weir/pipeline/combinators.hh>

// Where pipelines begin and end, in memory: a source and a sink around a pipe make a program.
namespace weir::pipeline {

/// A source of elements of type T.
template <typename T>
struct source_of {
    using element = T;
    std::string name;
    std::function<std::unique_ptr<source>()> make;
};

/// A source whose type says where its elements come from: `pull(emit)` calls emit(element) with
/// the next one, or returns false. It is a source like any other; see visible_pipe.
template <typename T, typename Pull>
struct visible_source : source_of<T> {
    Pull pull;
};

/// A source with a pipeline behind it.
template <typename Source, typename Pipe>
struct fed {
    Source from;
    Pipe through;
};

/// A sink of any elements that `make.operator()<B>()` can be made for.
template <typename Make>
struct sink_for {
    std::string name;
    Make make;
};
template <typename Make>
sink_for(std::string, Make) -> sink_for<Make>;

/// A sink that calls a function with each element: `function.operator()<B>()` gives the function.
template <typename Function>
struct visible_sink {
    std::string name;
    Function function;
};
template <typename Function>
visible_sink(std::string, Function) -> visible_sink<Function>;

namespace detail {

template <typename S>
concept a_source = std::derived_from<S, source_of<typename S::element>>;
template <typename S>
concept shows_its_pull = requires(S from) { from.pull; };

template <typename T, typename Pull>
class pulling_source final : public source {
  public:
    explicit pulling_source(Pull pull) : _pull(std::move(pull)) {}

    void fill(const slot_lane* out, std::size_t room, source_step& done) override {
        at_hand pull(_pull);
        at_hand own(done);
        const slots<T> to(out);
        source_step& count = *own;
        const weir::shard& here = this_shard();
        while (count.produced < room && !count.ended) {
            count.ended = !(*pull)([&](auto&& element) {
                to.store(count.produced, kept<T>(std::forward<decltype(element)>(element)));
                ++count.produced;
            });
            if (here.hurried()) [[unlikely]] {
                break;
            }
        }
    }

  private:
    Pull _pull;
};

template <typename T, typename Function>
class calling_sink final : public sink {
  public:
    explicit calling_sink(Function function) : _function(std::move(function)) {}

    std::size_t take(const lane* in, std::size_t n) override {
        at_hand function(_function);
        return for_each_element<T>(
            in, n, [&](std::size_t, const ref<T>& element) { (*function)(element); });
    }

  private:
    Function _function;
};

/// Elements A from `Pull`, through `Step`, as elements B to `Function`.
template <typename A, typename B, typename Pull, typename Step, typename Function>
class visible_loop final : public program_loop {
  public:
    visible_loop(Pull pull, Step step, Function function)
        : _pull(std::move(pull)), _step(std::move(step)), _function(std::move(function)) {}

    loop_step run(std::size_t most) override {
        std::size_t elements = 0;
        try {
            at_hand pull(_pull);
            at_hand step(_step);
            at_hand function(_function);
            const weir::shard& here = this_shard();
            while (elements < most) {
                if (!(*pull)([&](auto&& element) {
                        (*step)(seen<A>(element),
                                [&](auto&& result) { (*function)(seen<B>(result)); });
                    })) {
                    return {elements, true, nullptr};
                }
                ++elements;
                if (here.hurried()) [[unlikely]] {
                    break;
                }
            }
        } catch (...) {
            return {elements, false, std::current_exception()};
        }
        return {elements, false, nullptr};
    }
    void finish() override {
        _step.finish([&](auto&& result) { _function(seen<B>(result)); });
    }

  private:
    Pull _pull;
    Step _step;
    Function _function;
};

/// From an iterator on; whoever makes it holds what it goes through.
template <typename Iterator>
struct range_pull {
    Iterator next;
    Iterator end;
    template <typename Emit>
    bool operator()(const Emit& emit) {
        if (next == end) {
            return false;
        }
        emit(*next);
        ++next;
        return true;
    }
};

template <typename Next>
struct function_pull {
    Next next;
    template <typename Emit>
    bool operator()(const Emit& emit) {
        auto element = next();
        if (!element) {
            return false;
        }
        emit(*std::move(element));
        return true;
    }
};

}  // namespace detail

template <detail::a_source S, combinator P>
auto operator>>(S from, const P& next) {
    auto through = next.template of<typename S::element>();
    return fed<S, decltype(through)>{std::move(from), std::move(through)};
}
template <typename S, typename Through, combinator P>
auto operator>>(fed<S, Through> before, const P& next) {
    auto through = before.through >> next;
    return fed<S, decltype(through)>{std::move(before.from), std::move(through)};
}
template <typename S, typename Through, typename Make>
program operator>>(fed<S, Through> before, sink_for<Make> to) {
    return {
        .source_name = std::move(before.from.name),
        .make_source = std::move(before.from.make),
        .body = before.through.graph(),
        .sink_name = std::move(to.name),
        .make_sink = to.make.template operator()<typename Through::result>()
    };
}
template <typename S, typename Through, typename Function>
program operator>>(fed<S, Through> before, visible_sink<Function> to) {
    using B = typename Through::result;
    auto function = to.function.template operator()<B>();
    using function_type = decltype(function);
    program whole =
        fed(before) >>
        sink_for{std::move(to.name), [function]<typename T>() {
                     return std::function<std::unique_ptr<sink>()>([function] {
                         return std::make_unique<detail::calling_sink<T, function_type>>(function);
                     });
                 }};
    if constexpr (detail::shows_its_pull<S> && detail::is_visible<Through>) {
        // The source is kept for what it holds.
        whole.make_loop = [before = std::move(before), function] {
            using loop =
                detail::visible_loop<typename S::element, B, decltype(before.from.pull),
                                     std::decay_t<decltype(before.through.step())>, function_type>;
            return std::make_unique<loop>(before.from.pull, before.through.step(), function);
        };
    }
    return whole;
}

/// Everything to the sink as it comes.
template <detail::a_source S, typename Make>
program operator>>(S from, sink_for<Make> to) {
    return std::move(from) >> id() >> std::move(to);
}
template <detail::a_source S, typename Function>
program operator>>(S from, visible_sink<Function> to) {
    return std::move(from) >> id() >> std::move(to);
}

/// The elements of a list, and then the end.
template <typename T>
auto from_list(std::vector<T> values) {
    const auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    using pull = detail::range_pull<typename std::vector<T>::const_iterator>;
    return visible_source<T, pull>{{"list",
                                    [kept] {
                                        return std::make_unique<detail::pulling_source<T, pull>>(
                                            pull{kept->begin(), kept->end()});
                                    }},
                                   {kept->begin(), kept->end()}};
}

/// What `next()` gives, an optional, until it is empty.
/// next     copied for each deployment; called on the source's shard
template <typename Next>
auto generate(Next next) {
    using T = typename std::invoke_result_t<Next&>::value_type;
    using pull = detail::function_pull<Next>;
    return visible_source<T, pull>{
        {"generate",
         [next] { return std::make_unique<detail::pulling_source<T, pull>>(pull{next}); }},
        pull{next}};
}

/// Calls `function` with each element.
/// function  copied for each deployment; called on the sink's shard
template <typename Function>
auto for_each(Function function) {
    return visible_sink{
        "for_each", [function]<typename T>() {
            static_assert(
                requires(Function called, const ref<T>& element) { called(element); },
                "the function does not take the elements that come here: it gets "
                "const references (a pair or variant of them)");
            static_assert(detail::check_pairs<T, Function>());
            return function;
        }};
}

/// Appends copies of all elements to `into`, which must outlive the deployment and may be looked
/// at when it was joined.
template <typename T>
auto collect(std::vector<T>& into) {
    return visible_sink{
        "collect", [&into]<typename B>() {
            static_assert(std::same_as<T, B>, "the list collects elements of another type");
            static_assert(std::copy_constructible<B>, "copies: a list is given copies");
            return [&into](const ref<B>& element) { into.push_back(shape<B>::copy(element)); };
        }};
}

/// Looks at no element.
inline auto discard() {
    return visible_sink{"discard", []<typename T>() { return [](const ref<T>&) {}; }};
}

}  // namespace weir::pipeline
