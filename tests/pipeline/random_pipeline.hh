// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <weir/core/future.hh>
#include <weir/pipeline/pipe.hh>
#include <weir/pipeline/plan.hh>

/// Pipelines at random: well typed, of every combinator, with inputs and deployments.
namespace weir::test {

/// A sequence of decisions. It begins with those that it is given, and goes on at random; zero is
/// the simplest choice everywhere, so that a shorter list with smaller numbers is a simpler case.
class chooser {
  public:
    explicit chooser(std::uint64_t seed) : _state(seed) {}
    explicit chooser(std::vector<std::uint32_t> given) : _choices(std::move(given)), _state(0) {}

    /// returns  0..bound-1
    std::uint32_t operator()(std::uint32_t bound) {
        if (_next == _choices.size()) {
            // After the end of a list that was given, everything is as simple as can be.
            _choices.push_back(_state == 0 ? 0 : static_cast<std::uint32_t>(random() >> 33));
        }
        return _choices[_next++] % bound;
    }
    /// Whether pipelines that are drawn are free of functions that throw.
    bool total() const noexcept { return _total; }
    void set_total(bool total) noexcept { _total = total; }
    bool one_in(std::uint32_t n) { return (*this)(n) == n - 1; }
    /// What was decided.
    const std::vector<std::uint32_t>& choices() const noexcept { return _choices; }

  private:
    std::uint64_t random() noexcept {
        _state += 0x9e3779b97f4a7c15;
        std::uint64_t z = _state;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    std::vector<std::uint32_t> _choices;
    std::size_t _next = 0;
    std::uint64_t _state;
    bool _total = false;
};

// Random pipelines whose type says what is known of them: one out for one in and no state; one
// out for one in; anything.
template <typename A, typename B>
using random_pure_pipe = pipeline::pipe_of<A, B>;
template <typename A, typename B>
using random_pipe = pipeline::pipe_of<A, B, pipeline::traits{.stateful = true}>;
template <typename A, typename B>
using random_whole_pipe =
    pipeline::pipe_of<A, B, pipeline::traits{.yields = pipeline::rate::any, .stateful = true}>;

// Between std::int64_t and std::string; random_whole from one to the other.
template <typename A, typename B>
random_pure_pipe<A, B> random_pure(chooser& choose, unsigned depth);
template <typename A, typename B>
random_pipe<A, B> random_stateful(chooser& choose, unsigned depth);
/// length   parts that may change how many elements there are
template <typename A, typename B>
random_whole_pipe<A, B> random_whole(chooser& choose, unsigned length);

/// Capacities from 1 on, batches, patience, placement, with and without fusion.
pipeline::deploy_options random_deployment(chooser& choose, unsigned shards);
/// Often one less than a capacity, or it, or one more.
std::size_t random_length(chooser& choose, std::size_t capacity);
std::string text_of(const pipeline::deploy_options& options);

/// A pipeline with an input and a way to deploy it.
struct random_case {
    std::string text;  ///< what it is
    /// Runs the model, then deploys, and compares.
    /// returns  what differs; empty: nothing
    std::function<future<std::string>()> check;
};

/// shards   of the host that it will run on
random_case make_random_case(chooser& choose, unsigned shards);

}  // namespace weir::test
