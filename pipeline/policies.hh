// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iterator>
#include <utility>
#include <vector>

#include <weir/pipeline/combinators.hh>

// What happens when the function of a stage throws. By default the stream ends there, with what
// came before. These words wrap one stage: a map, or a fold to
// begin anew.
namespace weir::pipeline {

namespace detail {

/// Decides what to do about a failure of the kernel that it holds.
class guarded_kernel : public kernel {
  public:
    guarded_kernel(std::unique_ptr<kernel> guarded, const node& of)
        : _guarded(std::move(guarded)), _in(of.in->columns.size()), _out(of.out->columns.size()) {}

    kernel_step run(const lane* in, std::size_t n, const slot_lane* out, std::size_t room) final;
    kernel_step finish(const slot_lane* out, std::size_t room) final {
        return _guarded->finish(out, room);
    }

  protected:
    enum class verdict : std::uint8_t { stop, again, pass_over };
    /// in, i    the element that it failed at
    /// fresh    whether another element came through since the last failure
    virtual verdict judge(const lane* in, std::size_t i, const std::exception_ptr& failure,
                          bool fresh) = 0;

    std::unique_ptr<kernel> _guarded;

  private:
    std::vector<lane> _in;  // of what is left of a batch
    std::vector<slot_lane> _out;
    bool _fresh = true;
};

class retrying_kernel final : public guarded_kernel {
  public:
    retrying_kernel(const node& of, unsigned times)
        : guarded_kernel(of.make(), of), _times(times) {}

  private:
    verdict judge(const lane*, std::size_t, const std::exception_ptr&, bool fresh) override {
        _left = fresh ? _times : _left;
        return _left-- > 0 ? verdict::again : verdict::stop;
    }
    const unsigned _times;
    unsigned _left = 0;
};

class restarting_kernel final : public guarded_kernel {
  public:
    explicit restarting_kernel(node_ptr of) : guarded_kernel(of->make(), *of), _of(std::move(of)) {}

  private:
    verdict judge(const lane*, std::size_t, const std::exception_ptr&, bool fresh) override {
        if (!fresh) {
            return verdict::stop;
        }
        _guarded = _of->make();
        return verdict::again;
    }
    const node_ptr _of;
};

template <typename A, typename Letter>
class skipping_kernel final : public guarded_kernel {
  public:
    skipping_kernel(const node& of, Letter letter)
        : guarded_kernel(of.make(), of), _letter(std::move(letter)) {}

  private:
    verdict judge(const lane* in, std::size_t i, const std::exception_ptr& failure, bool) override {
        _letter(shape<A>::load(in, i), failure);
        return verdict::pass_over;
    }
    Letter _letter;
};

inline void assert_one_stage(const node& of) {
    WEIR_ASSERT(of.kind == node::form::work);
}

/// Without the elements that fail: one out for one in, so as many as came out went through before
/// the first that fails.
template <typename A, typename B>
future<listed<B>> model_skip(model_ptr<A, B> body, listed<A> in) {
    for (;;) {
        auto out = co_await (*body)(listed<A>{in.values, nullptr});
        if (!out.failure) {
            out.failure = in.failure;
            co_return out;
        }
        in.values.erase(in.values.begin() + static_cast<std::ptrdiff_t>(out.values.size()));
    }
}

/// Piece by piece, each from an element that the last one failed at.
template <typename A, typename B>
future<listed<B>> model_restart(model_ptr<A, B> body, listed<A> in) {
    listed<B> whole;
    for (bool first = true;; first = false) {
        auto out = co_await (*body)(listed<A>{in.values, nullptr});
        const std::size_t came = out.values.size();
        std::move(out.values.begin(), out.values.end(), std::back_inserter(whole.values));
        if (!out.failure || (came == 0 && !first)) {
            whole.failure = out.failure ? out.failure : in.failure;
            co_return whole;
        }
        in.values.erase(in.values.begin(), in.values.begin() + static_cast<std::ptrdiff_t>(came));
    }
}

}  // namespace detail

/// Calls the function of a stage up to `times` more for an element that it failed at.
template <combinator P>
auto retry(unsigned times, const P& what) {
    return untyped{[times, what]<typename A>() {
        const auto p = what.template of<A>();
        using pipe_type = std::decay_t<decltype(p)>;
        using B = typename pipe_type::result;
        static_assert(pipe_type::kept.yields == rate::one,
                      "rate: retry is for stages of one out for one in");
        static_assert(!pipe_type::kept.stateful,
                      "state: what a fold changed before it failed would stay when it is retried; "
                      "restart begins anew");
        detail::assert_one_stage(*p.graph());
        node graph = *p.graph();
        graph.make = [times, inner = p.graph()] {
            return std::make_unique<detail::retrying_kernel>(*inner, times);
        };
        return detail::make_pipe<A, B, pipe_type::kept>(std::move(graph), p.meaning());
    }};
}

/// Leaves out the elements that a stage fails at, and gives each to `letter(element, failure)`,
/// the sink for dead letters, on the stage's shard. It changes how many elements there are.
template <combinator P, typename Letter>
auto skip(const P& what, Letter letter) {
    return untyped{[what, letter]<typename A>() {
        const auto p = what.template of<A>();
        using pipe_type = std::decay_t<decltype(p)>;
        using B = typename pipe_type::result;
        static_assert(pipe_type::kept.yields == rate::one,
                      "rate: skip is for stages of one out for one in");
        static_assert(!pipe_type::kept.stateful,
                      "state: what a fold changed before it failed would stay when the element is "
                      "skipped; restart begins anew");
        static_assert(std::is_invocable_v<Letter&, ref<A>, const std::exception_ptr&>,
                      "the sink for dead letters takes an element and a std::exception_ptr");
        detail::assert_one_stage(*p.graph());
        node graph = *p.graph();
        graph.make = [letter, inner = p.graph()] {
            return std::make_unique<detail::skipping_kernel<A, Letter>>(*inner, letter);
        };
        return detail::make_pipe<A, B, traits{.yields = rate::any}>(
            std::move(graph), detail::make_model<A, B>([f = p.meaning()](listed<A> in) {
                return detail::model_skip<A, B>(f, std::move(in));
            }));
    }};
}

/// Begins a stage anew, with its first state, at an element that it failed at; if that fails too,
/// the stream ends.
template <combinator P>
auto restart(const P& what) {
    return untyped{[what]<typename A>() {
        const auto p = what.template of<A>();
        using pipe_type = std::decay_t<decltype(p)>;
        using B = typename pipe_type::result;
        static_assert(pipe_type::kept.yields == rate::one,
                      "rate: restart is for stages of one out for one in");
        detail::assert_one_stage(*p.graph());
        node graph = *p.graph();
        graph.make = [inner = p.graph()] {
            return std::make_unique<detail::restarting_kernel>(inner);
        };
        return detail::make_pipe<A, B, pipe_type::kept>(
            std::move(graph), detail::make_model<A, B>([f = p.meaning()](listed<A> in) {
                return detail::model_restart<A, B>(f, std::move(in));
            }));
    }};
}

}  // namespace weir::pipeline
