// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <pipeline/random_values.hh>
#include <pipeline/seeded.hh>

#include <weir/core/coroutine.hh>
#include <weir/pipeline/deployment.hh>
#include <weir/pipeline/ends.hh>

/// What the tests of laws say: that pipelines give the same, as models and deployed.
namespace weir::test {

/// What came out of a pipeline, and whether it failed behind that.
template <typename B>
struct outcome {
    std::vector<B> values{};
    bool failed = false;
};

/// returns  how they differ; empty: they are the same
template <typename B>
std::string difference(const outcome<B>& found, const outcome<B>& expected) {
    if (found.failed != expected.failed) {
        return found.failed ? "failed" : "did not fail";
    }
    if (found.values.size() != expected.values.size()) {
        return fmt::format("{} elements, not {}", found.values.size(), expected.values.size());
    }
    for (std::size_t i = 0; i < found.values.size(); ++i) {
        if (found.values[i] != expected.values[i]) {
            return fmt::format("element {} differs", i);
        }
    }
    return "";
}

template <typename A, typename B, pipeline::traits T>
future<outcome<B>> modelled(pipeline::pipe_of<A, B, T> p, std::vector<A> in) {
    pipeline::listed<B> out = co_await pipeline::model(p, std::move(in));
    co_return outcome<B>{std::move(out.values), out.failure != nullptr};
}

/// Of a pipe that is visible, the program is too.
template <pipeline::combinator P>
future<outcome<typename P::result>> deployed(P p, std::vector<typename P::input> in,
                                             pipeline::deploy_options options) {
    outcome<typename P::result> out;
    try {
        co_await pipeline::run(
            pipeline::from_list(std::move(in)) >> p >> pipeline::collect(out.values), options);
    } catch (const std::exception&) {
        out.failed = true;
    }
    co_return out;
}

/// Holds a pipeline's model and a deployment of it against what it should give.
template <pipeline::combinator P>
future<std::string> hold(P p, std::vector<typename P::input> in,
                         outcome<typename P::result> expected, pipeline::deploy_options options) {
    if (std::string said = difference(co_await modelled(p, in), expected); !said.empty()) {
        co_return fmt::format("model of {}: {}", in.size(), said);
    }
    std::string said = difference(co_await deployed(p, in, options), expected);
    co_return said.empty() ? said : fmt::format("{} of {}: {}", text_of(options), in.size(), said);
}

namespace detail {

template <typename B>
using way = std::function<future<std::string>(const outcome<B>&)>;

template <typename B>
future<std::string> hold_all(future<outcome<B>> given, std::vector<way<B>> ways) {
    const outcome<B> expected = co_await std::move(given);
    for (std::size_t i = 0; i < ways.size(); ++i) {
        if (const std::string said = co_await ways[i](expected); !said.empty()) {
            co_return fmt::format("side {}: {}", i + 1, said);
        }
    }
    co_return "";
}

}  // namespace detail

/// Whether each pipeline gives `expected` for `in`: its model, and a deployment that is drawn.
template <typename B, typename A, pipeline::combinator... P>
future<std::string> all_give(chooser& draw, future<outcome<B>> expected, const std::vector<A>& in,
                             const P&... pipelines) {
    std::vector<detail::way<B>> ways;
    const auto add = [&](auto p) {
        ways.push_back([p, in, options = random_deployment(draw, law_shards)](
                           const outcome<B>& wanted) { return hold(p, in, wanted, options); });
    };
    (add(pipeline::describe<A>(pipelines)), ...);
    return detail::hold_all<B>(std::move(expected), std::move(ways));
}
template <typename B, typename A, pipeline::combinator... P>
future<std::string> all_give(chooser& draw, std::vector<B> expected, const std::vector<A>& in,
                             const P&... pipelines) {
    return all_give<B>(draw, make_ready_future<outcome<B>>(outcome<B>{std::move(expected)}), in,
                       pipelines...);
}

/// Whether they give what the model of the first one gives.
template <typename A, pipeline::combinator First, pipeline::combinator... More>
future<std::string> same(chooser& draw, const std::vector<A>& in, const First& first,
                         const More&... more) {
    const auto p = pipeline::describe<A>(first);
    using B = typename std::decay_t<decltype(p)>::result;
    return all_give<B>(draw, modelled(p, in), in, p, more...);
}

template <typename A>
std::vector<A> random_input(chooser& draw) {
    return random_elements<A>(draw, random_length(draw, 1 + draw(9)));
}

/// A map of a function that is drawn, and never fails.
template <typename A, typename B>
auto random_map(chooser& draw) {
    return pipeline::describe<A>(pipeline::map(function<A, B>{draw(1000)}));
}

}  // namespace weir::test
