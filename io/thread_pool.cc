// SPDX-License-Identifier: Apache-2.0
#include <weir/io/thread_pool.hh>

#include <csignal>
#include <system_error>
#include <utility>

#include <pthread.h>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>
#include <weir/io/remedy.hh>

namespace weir::io {

thread_pool::thread_pool(thread_pool_options options) : _options(options) {
    WEIR_ASSERT(options.threads > 0);
    CPU_ZERO(&_allowed);
    WEIR_ASSERT(sched_getaffinity(0, sizeof _allowed, &_allowed) == 0);
    _threads.reserve(options.threads);
    try {
        start_thread();
    } catch (const std::system_error& cause) {
        throw error("start", with_remedy("thread for blocking calls", cause.code().value()),
                    cause.code());
    }
}

thread_pool::~thread_pool() {
    {
        const std::lock_guard lock(_mutex);
        WEIR_ASSERT(_clients == 0);
        _stopping = true;
    }
    _work_waits.notify_all();
    for (auto& thread : _threads) {
        thread.join();
    }
}

thread_pool_statistics thread_pool::statistics() const {
    const std::lock_guard lock(_mutex);
    return _statistics;
}

/// Signals are for the process's own threads: a pool thread takes none.
void thread_pool::start_thread() {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
        _threads.emplace_back([this] { serve(); });
        ++_statistics.threads;
    } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void thread_pool::serve() noexcept {
    pthread_setname_np(pthread_self(), "weir-blocking");
    // The shard that started this thread is pinned; this thread is not.
    sched_setaffinity(0, sizeof _allowed, &_allowed);
    std::unique_lock lock(_mutex);
    for (;;) {
        while (_ready.empty() && !_stopping) {
            ++_idle;
            _work_waits.wait(lock);
            --_idle;
        }
        if (_ready.empty()) {
            return;
        }
        client& from = *_ready.front();
        _ready.erase(_ready.begin());
        blocking_work* work = std::exchange(from._first, from._first->next);
        if (from._first != nullptr) {
            _ready.push_back(&from);
        }
        ++from._running;
        --_statistics.waiting;
        ++_statistics.taken;
        lock.unlock();

        work->run();
        work->next = from._finished.load(std::memory_order_relaxed);
        // Release: pairs with the acquire in take_finished, which sees what run() wrote.
        while (!from._finished.compare_exchange_weak(work->next, work, std::memory_order_release,
                                                     std::memory_order_relaxed)) {
        }
        from.notify();

        lock.lock();
        if (--from._running == 0) {
            _client_idle.notify_all();
        }
    }
}

thread_pool::client::client(thread_pool& pool) : _pool(pool) {
    const std::lock_guard lock(pool._mutex);
    pool._ready.reserve(pool._clients + 1);
    ++pool._clients;
}

thread_pool::client::~client() {
    const std::lock_guard lock(_pool._mutex);
    WEIR_ASSERT(_running == 0 && _first == nullptr);
    _pool._clients -= !_stopped;
}

void thread_pool::client::submit(blocking_work& work) noexcept {
    {
        const std::lock_guard lock(_pool._mutex);
        WEIR_ASSERT(!_stopped);
        if (_pool._idle <= _pool._statistics.waiting &&
            _pool._threads.size() < _pool._options.threads) {
            try {
                _pool.start_thread();
            } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): there is one
            }
        }
        work.next = nullptr;
        if (_first == nullptr) {
            _first = &work;
            _pool._ready.push_back(this);
        } else {
            _last->next = &work;
        }
        _last = &work;
        ++_pool._statistics.waiting;
    }
    _pool._work_waits.notify_one();
}

blocking_work* thread_pool::client::take_finished() noexcept {
    // Acquire: pairs with the release in serve().
    blocking_work* latest = _finished.exchange(nullptr, std::memory_order_acquire);
    blocking_work* in_order = nullptr;
    while (latest != nullptr) {
        blocking_work* earlier = latest->next;
        latest->next = in_order;
        in_order = latest;
        latest = earlier;
    }
    return in_order;
}

void thread_pool::client::stop() noexcept {
    std::unique_lock lock(_pool._mutex);
    if (_stopped) {
        return;
    }
    _stopped = true;
    std::erase(_pool._ready, this);
    for (; _first != nullptr; _first = _first->next) {
        --_pool._statistics.waiting;
    }
    while (_running > 0) {
        _pool._client_idle.wait(lock);
    }
    --_pool._clients;
}

}  // namespace weir::io
