// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <utility>

#include <weir/core/coroutine.hh>
#include <weir/core/error.hh>
#include <weir/pipeline/deployment.hh>

namespace weir::test {

/// Runs a program on small rings.
/// returns  what it fails with; empty: it does not
inline future<std::string> failure_of(pipeline::program what) {
    std::string said;
    try {
        co_await pipeline::run(std::move(what), {.capacity = 8});
    } catch (const error& failure) {
        said = failure.what();
    }
    co_return said;
}

}  // namespace weir::test
