// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>
#include <weir/core/shard.hh>
#include <weir/io/backend.hh>

namespace weir::io {

/// The backend of this shard. Shards of io always have one: see run.hh and the simulator.
inline backend& this_backend() noexcept {
    return static_cast<backend&>(this_shard().outside());
}

/// Starts an operation that completes once. What it points to must live until the future is
/// settled.
/// give_up  once triggered, a read or write of a file that still waits for its turn (budget.hh)
///          never starts, and what has begun goes on to its end; anything else is cancelled, if
///          the kernel can. Not null: outlives the operation
/// returns  the result as the system call has it: a count or descriptor, or -errno
/// fails    only with the reason of `give_up`: then nothing of the operation was done
/// cost     one block from the pool
future<std::int32_t> submit(any_op what, abort_source* give_up = nullptr);

/// As submit(), but -errno becomes a failure that names the operation and its subject.
/// subject  copied
/// fails    weir::error with the errno
future<std::int32_t> submit_or_fail(any_op what, std::string_view operation,
                                    std::string_view subject);

/// Closes a descriptor that nobody took, in the background.
/// fails    never: where there is no memory for the operation it is closed at once
void discard(int fd) noexcept;

}  // namespace weir::io
