// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <list>

#include <weir/io/uring_backend.hh>

namespace weir::io {

/// An operation that a pool thread does for the ring.
struct uring_backend::pooled_call final : blocking_work {
    pooled_call(uring_backend& owner, operation& asked) noexcept : owner(owner), asked(asked) {}
    void run() noexcept override;
    void complete() noexcept override;

    uring_backend& owner;
    operation& asked;
    std::int32_t result = 0;
    std::list<pooled_call>::iterator place;
};

}  // namespace weir::io
