// SPDX-License-Identifier: Apache-2.0
#include <weir/io/backend.hh>

#include <cerrno>

#include <weir/io/budget.hh>

namespace weir::io {

backend::backend(const budget_options& options)
    : _budget(std::make_unique<class budget>(*this, options)) {}

backend::~backend() = default;

/// Only what has done nothing when it says so. Names may have changed all the same, a connect goes
/// on, and for a lock, or a stream that somebody made O_NONBLOCK, EAGAIN is the answer.
bool backend::asks_again(operation& work, std::int32_t result) noexcept {
    if ((result != -EINTR && result != -EAGAIN) || work._asked_again == asks_max) {
        return false;
    }
    const bool repeatable =
        holds_any<op::open, op::stat, op::read, op::write, op::sync, op::allocate, op::truncate,
                  op::accept, op::receive, op::receive_into, op::send>(work.what);
    return repeatable ||
           (result == -EINTR && holds_any<op::read_stream, op::write_stream>(work.what));
}

void backend::finish(operation& work, completion outcome) noexcept {
    if (asks_again(work, outcome.result)) [[unlikely]] {
        ++work._asked_again;
        start(work);
        return;
    }
    work._asked_again = 0;
    if (outcome.result == -EINTR && holds_any<op::close>(work.what)) {
        outcome.result = 0;  // the descriptor is gone all the same
    }
    work.complete(outcome);
}

}  // namespace weir::io
