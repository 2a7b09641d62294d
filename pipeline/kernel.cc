// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/kernel.hh>

#include <fmt/format.h>

#include <weir/core/error.hh>
#include <weir/pipeline/combinators.hh>
#include <weir/pipeline/policies.hh>

namespace weir::pipeline {

kernel_step kernel::finish(const slot_lane*, std::size_t) {
    return {};
}

namespace detail {

void check_range(std::string_view word, std::string_view what, std::size_t value,
                 std::size_t most) {
    if (value == 0 || value > most) {
        throw error(word, fmt::format("{} {}, not 1 to {}", what, value, most), errc::malformed);
    }
}

kernel_step guarded_kernel::run(const lane* in, std::size_t n, const slot_lane* out,
                                std::size_t room) {
    kernel_step whole;
    for (;;) {
        for (std::size_t column = 0; column < _in.size(); ++column) {
            const lane& from = in[column];
            _in[column] = from.picked != nullptr
                              ? lane{nullptr, 0, from.picked + whole.consumed}
                              : lane{from.at(whole.consumed), from.stride, nullptr};
        }
        for (std::size_t column = 0; column < _out.size(); ++column) {
            _out[column] = {out[column].at(whole.produced), out[column].size};
        }
        kernel_step step =
            _guarded->run(_in.data(), n - whole.consumed, _out.data(), room - whole.produced);
        whole.consumed += step.consumed;
        whole.produced += step.produced;
        _fresh |= step.consumed != 0;
        if (!step.failure) {
            return whole;
        }
        verdict what = verdict::stop;
        try {
            what = judge(in, whole.consumed, step.failure, std::exchange(_fresh, false));
        } catch (...) {
            step.failure = std::current_exception();  // the judge's own, such as a dead letter's
        }
        if (what == verdict::stop) {
            whole.failure = std::move(step.failure);
            return whole;
        }
        if (what == verdict::pass_over) {
            ++whole.consumed;
            _fresh = true;
        }
    }
}

}  // namespace detail

}  // namespace weir::pipeline
