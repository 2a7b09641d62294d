// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include <sched.h>

#include <weir/core/poller.hh>

namespace weir::io {

struct thread_pool_options {
    /// Threads at most. Each starts when work waits and no thread is idle.
    unsigned threads = 8;
};

struct thread_pool_statistics {
    std::uint64_t threads = 0;  ///< started so far
    std::uint64_t waiting = 0;  ///< work that no thread has taken yet
    std::uint64_t taken = 0;    ///< work that a thread has run or is running
};

/// The few threads of a host for what may block. Work is intrusive: the pool allocates nothing
/// for it, and its queue is bounded by what the shards hold. Shards take turns, so that one
/// shard's thousand requests delay another's by one each.
class thread_pool {
  public:
    class client;

    /// Starts the first thread: whoever submits finds one. Threads may run where the constructing
    /// thread may: construct it before that thread is pinned.
    /// fails    weir::error when not even one thread can be started
    explicit thread_pool(thread_pool_options options = {});
    thread_pool(const thread_pool&) = delete;
    thread_pool& operator=(const thread_pool&) = delete;
    /// Joins the threads. Every client must have gone (asserted).
    ~thread_pool();

    /// thread   any
    thread_pool_statistics statistics() const;

  private:
    void serve() noexcept;
    void start_thread();

    const thread_pool_options _options;
    cpu_set_t _allowed;
    mutable std::mutex _mutex;
    std::condition_variable _work_waits;
    std::condition_variable _client_idle;
    std::vector<client*> _ready;  // clients with waiting work, each once; there is room for all
    std::vector<std::thread> _threads;
    unsigned _idle = 0;
    unsigned _clients = 0;
    bool _stopping = false;
    thread_pool_statistics _statistics;
};

/// One shard's side of the pool.
class thread_pool::client {
  public:
    /// fails    std::bad_alloc
    explicit client(thread_pool& pool);
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    /// Has `work` run by a thread. It may be the one that starts another, where one can be had.
    /// thread   the owner
    void submit(blocking_work& work) noexcept;
    /// All work that has run since the last call, linked by `next`, first finished first.
    /// thread   the owner
    blocking_work* take_finished() noexcept;
    /// thread   the owner
    /// cost     one relaxed load
    bool has_finished() const noexcept {
        return _finished.load(std::memory_order_relaxed) != nullptr;
    }
    /// Waits for the work that runs; forgets what has not begun.
    /// thread   the owner
    void stop() noexcept;

  protected:
    /// Must have been stopped if it ever submitted (asserted).
    ~client();
    /// Says that something has finished.
    /// thread   a pool thread
    virtual void notify() noexcept = 0;

  private:
    friend class thread_pool;

    thread_pool& _pool;
    std::atomic<blocking_work*> _finished = nullptr;  // last finished first
    // Under the pool's mutex:
    blocking_work* _first = nullptr;
    blocking_work* _last = nullptr;
    unsigned _running = 0;
    bool _stopped = false;
};

}  // namespace weir::io
