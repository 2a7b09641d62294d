// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <weir/pipeline/batch.hh>
#include <weir/pipeline/pipe.hh>

// Where pipelines begin and end, in memory: a source and a sink around a pipe make a program.
namespace weir::pipeline {

/// A source of elements of type T.
template <typename T>
struct source_of {
    std::string name;
    std::function<std::unique_ptr<source>()> make;
};

/// A source with a pipeline behind it.
template <typename A, typename B, traits T>
struct fed {
    source_of<A> from;
    pipe<A, B, T> through;
};

/// A sink of any elements that `make.operator()<B>()` can be made for.
template <typename Make>
struct sink_for {
    std::string name;
    Make make;
};
template <typename Make>
sink_for(std::string, Make) -> sink_for<Make>;

template <typename A, combinator P>
auto operator>>(source_of<A> from, const P& next) {
    auto through = next.template of<A>();
    using through_type = decltype(through);
    return fed<A, typename through_type::result, through_type::kept>{std::move(from),
                                                                     std::move(through)};
}
template <typename A, typename B, traits T, combinator P>
auto operator>>(fed<A, B, T> before, const P& next) {
    auto through = before.through >> next;
    using through_type = decltype(through);
    return fed<A, typename through_type::result, through_type::kept>{std::move(before.from),
                                                                     std::move(through)};
}
template <typename A, typename B, traits T, typename Make>
program operator>>(fed<A, B, T> before, sink_for<Make> to) {
    return {
        .source_name = std::move(before.from.name),
        .make_source = std::move(before.from.make),
        .body = before.through.graph(),
        .sink_name = std::move(to.name),
        .make_sink = to.make.template operator()<B>()
    };
}

namespace detail {

template <typename T, typename Next>
class calling_source final : public source {
  public:
    explicit calling_source(Next next) : _next(std::move(next)) {}

    source_step fill(const slot_lane* out, std::size_t room) override {
        source_step done;
        if (_failure) {
            std::rethrow_exception(_failure);
        }
        try {
            at_hand next(_next);
            const slots<T> to(out);
            while (done.produced < room && !done.ended) {
                std::optional<T> element = (*next)();
                if (element) {
                    to.store(done.produced++, std::move(*element));
                } else {
                    done.ended = true;
                }
            }
        } catch (...) {
            _failure = std::current_exception();
            if (done.produced == 0) {
                throw;
            }
            // What came before is given first; the next call throws.
        }
        return done;
    }

  private:
    Next _next;
    std::exception_ptr _failure;
};

template <typename T>
class list_source final : public source {
  public:
    explicit list_source(std::shared_ptr<const std::vector<T>> values)
        : _values(std::move(values)) {}

    source_step fill(const slot_lane* out, std::size_t room) override {
        const std::size_t count = std::min(room, _values->size() - _next);
        const std::vector<T>& values = *_values;
        const slots<T> to(out);
        std::size_t i = 0;
        try {
            for (; i < count; ++i) {
                to.store(i, T(values[_next + i]));
            }
        } catch (...) {
            if (i == 0) {
                throw;
            }
            // What was copied is given first; the next call comes here again.
        }
        _next += i;
        return {i, _next == _values->size()};
    }

  private:
    const std::shared_ptr<const std::vector<T>> _values;
    std::size_t _next = 0;
};

template <typename T, typename Function>
class calling_sink final : public sink {
  public:
    explicit calling_sink(Function function) : _function(std::move(function)) {}

    std::size_t take(const lane* in, std::size_t n) override {
        at_hand function(_function);
        for_each_element<T>(in, n,
                            [&](std::size_t, const ref<T>& element) { (*function)(element); });
        return n;
    }

  private:
    Function _function;
};

}  // namespace detail

/// The elements of a list, and then the end.
template <typename T>
source_of<T> from_list(std::vector<T> values) {
    auto kept = std::make_shared<const std::vector<T>>(std::move(values));
    return {"list", [kept] { return std::make_unique<detail::list_source<T>>(kept); }};
}

/// What `next()` gives, an optional, until it is empty.
/// next     copied for each deployment; called on the source's shard
template <typename Next>
auto generate(Next next) {
    using T = typename std::invoke_result_t<Next&>::value_type;
    return source_of<T>{"generate",
                        [next] { return std::make_unique<detail::calling_source<T, Next>>(next); }};
}

/// Calls `function` with each element.
/// function  copied for each deployment; called on the sink's shard
template <typename Function>
auto for_each(Function function) {
    return sink_for{"for_each", [function]<typename T>() {
                        return std::function<std::unique_ptr<sink>()>([function] {
                            return std::make_unique<detail::calling_sink<T, Function>>(function);
                        });
                    }};
}

/// Appends copies of all elements to `into`, which must outlive the deployment and may be looked
/// at when it was joined.
template <typename T>
auto collect(std::vector<T>& into) {
    return sink_for{
        "collect", [&into]<typename B>() {
            static_assert(std::same_as<T, B>, "the list collects elements of another type");
            const auto append = [&into](ref<B> element) {
                into.push_back(shape<B>::copy(element));
            };
            return std::function<std::unique_ptr<sink>()>([append] {
                return std::make_unique<detail::calling_sink<B, std::decay_t<decltype(append)>>>(
                    append);
            });
        }};
}

/// Looks at no element.
inline auto discard() {
    return sink_for{
        "discard", []<typename T>() {
            const auto nothing = [](const ref<T>&) {};
            return std::function<std::unique_ptr<sink>()>([nothing] {
                return std::make_unique<detail::calling_sink<T, std::decay_t<decltype(nothing)>>>(
                    nothing);
            });
        }};
}

}  // namespace weir::pipeline
