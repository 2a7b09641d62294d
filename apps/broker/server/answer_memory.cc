// SPDX-License-Identifier: Apache-2.0
#include <broker/server/answer_memory.hh>

#include <weir/core/error.hh>

namespace weir::broker {

future<semaphore_units> answer_memory::take(std::size_t bytes, abort_source& ended) {
    if (bytes > most()) {
        return make_failed_future<semaphore_units>(
            error("answer", "more than answer-bytes", errc::limit_exceeded));
    }
    return _open.acquire(bytes, ended);
}

}  // namespace weir::broker
