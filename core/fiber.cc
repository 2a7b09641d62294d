// SPDX-License-Identifier: Apache-2.0
#include <weir/core/fiber.hh>

#include <algorithm>

#include <boost/context/detail/fcontext.hpp>
#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEIR_ASAN 1
#include <sanitizer/asan_interface.h>
#endif
#if __has_feature(thread_sanitizer)
#define WEIR_TSAN 1
#include <sanitizer/tsan_interface.h>
#endif
#endif

namespace weir {

namespace context = boost::context::detail;

namespace {

std::size_t page_bytes() noexcept {
    return static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

/// A mapped stack above a page that no one may touch.
class fiber_stack {
  public:
    explicit fiber_stack(std::size_t bytes)
        : _guard(page_bytes()), _bytes((bytes + _guard - 1) / _guard * _guard) {
        void* mapped = mmap(nullptr, _guard + _bytes, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
        if (mapped == MAP_FAILED) {
            throw error::from_errno("map", "fiber stack", errno);
        }
        _mapping = static_cast<std::byte*>(mapped);
        if (mprotect(bottom(), _bytes, PROT_READ | PROT_WRITE) != 0) {
            const int failure = errno;
            munmap(_mapping, _guard + _bytes);
            throw error::from_errno("map", "fiber stack", failure);
        }
    }
    fiber_stack(const fiber_stack&) = delete;
    fiber_stack& operator=(const fiber_stack&) = delete;
    ~fiber_stack() {
#ifdef WEIR_ASAN
        __asan_unpoison_memory_region(bottom(), _bytes);
#endif
        munmap(_mapping, _guard + _bytes);
    }

    std::byte* bottom() const noexcept { return _mapping + _guard; }
    std::byte* top() const noexcept { return bottom() + _bytes; }
    std::size_t bytes() const noexcept { return _bytes; }

    /// Bytes from the top down to the lowest page that was ever touched.
    std::size_t used() const {
        std::vector<unsigned char> resident(_bytes / _guard);
        if (mincore(bottom(), _bytes, resident.data()) != 0) {
            return 0;
        }
        const auto lowest = std::find_if(resident.begin(), resident.end(),
                                         [](unsigned char page) { return (page & 1) != 0; });
        return static_cast<std::size_t>(resident.end() - lowest) * _guard;
    }

  private:
    const std::size_t _guard;
    const std::size_t _bytes;
    std::byte* _mapping;
};

/// What the C++ runtime knows of the exceptions of a thread: those being handled, and how many
/// are on their way. It belongs to the stack, so it changes with it.
struct exception_globals {
    void* caught = nullptr;
    unsigned uncaught = 0;

    void exchange() noexcept {
        auto& current = *reinterpret_cast<exception_globals*>(abi::__cxa_get_globals());
        std::swap(caught, current.caught);
        std::swap(uncaught, current.uncaught);
    }
};

}  // namespace

class fiber_pool::fiber final : public task {
  public:
    fiber(fiber_pool& pool, std::size_t stack_bytes)
        : task(task_context{}),
          _pool(pool),
          _stack(stack_bytes),
          _own(context::make_fcontext(_stack.top(), _stack.bytes(), &enter)) {
#ifdef WEIR_TSAN
        _tsan = __tsan_create_fiber(0);
#endif
    }
    ~fiber() {
#ifdef WEIR_TSAN
        __tsan_destroy_fiber(_tsan);
#endif
    }

    void begin(detail::fiber_work& work) noexcept {
        _work = &work;
        set_context(this_shard().context());
        this_shard().make_ready(*this);
    }

    /// On the shard's stack: goes on with the fiber until it suspends or ends.
    void run() noexcept override {
        shard& here = this_shard();
        const unsigned inline_runs = here.exchange_inline_runs(_inline_runs);
        _pool._current = this;
        _exceptions.exchange();
#ifdef WEIR_TSAN
        _tsan_shard = __tsan_get_current_fiber();
        __tsan_switch_to_fiber(_tsan, 0);
#endif
#ifdef WEIR_ASAN
        void* fake_stack = nullptr;
        __sanitizer_start_switch_fiber(&fake_stack, _stack.bottom(), _stack.bytes());
#endif
        _own = context::jump_fcontext(_own, this).fctx;
#ifdef WEIR_ASAN
        __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
        _exceptions.exchange();
        _pool._current = nullptr;
        _inline_runs = here.exchange_inline_runs(inline_runs);
        if (_work == nullptr) {
            _pool.retire(*this);
        }
    }

    // AddressSanitizer keeps locals on a fake stack, which goes when a fiber has ended: what runs
    // on the fiber around that moment must have none there.

    /// On the fiber's stack: goes back to the shard.
    __attribute__((no_sanitize("address"))) void leave() noexcept {
#ifdef WEIR_TSAN
        __tsan_switch_to_fiber(_tsan_shard, 0);
#endif
#ifdef WEIR_ASAN
        // A fiber that has ended needs its fake stack no more: it gets a new one if it is used
        // again.
        void* fake_stack = nullptr;
        __sanitizer_start_switch_fiber(_work != nullptr ? &fake_stack : nullptr, _shard_bottom,
                                       _shard_bytes);
#endif
        _shard = context::jump_fcontext(_shard, nullptr).fctx;
        arrive(
#ifdef WEIR_ASAN
            fake_stack
#else
            nullptr
#endif
        );
    }

    std::size_t stack_used() const { return _stack.used(); }

  private:
    __attribute__((no_sanitize("address"))) static void enter(context::transfer_t from) noexcept {
        fiber& self = *static_cast<fiber*>(from.data);
        self._shard = from.fctx;
        self.arrive(nullptr);
        for (;;) {
            self._work->run();
            self._work = nullptr;
            self.leave();
        }
    }
    __attribute__((no_sanitize("address"))) void arrive(
        [[maybe_unused]] void* fake_stack) noexcept {
#ifdef WEIR_ASAN
        __sanitizer_finish_switch_fiber(fake_stack, &_shard_bottom, &_shard_bytes);
#endif
    }

    fiber_pool& _pool;
    fiber_stack _stack;
    context::fcontext_t _own;
    context::fcontext_t _shard = nullptr;
    detail::fiber_work* _work = nullptr;
    exception_globals _exceptions;
    unsigned _inline_runs = 0;
#ifdef WEIR_ASAN
    const void* _shard_bottom = nullptr;
    std::size_t _shard_bytes = 0;
#endif
#ifdef WEIR_TSAN
    void* _tsan = nullptr;
    void* _tsan_shard = nullptr;
#endif
};

fiber_pool::fiber_pool(const shard_options& options)
    : _stack_bytes(options.fiber_stack_bytes),
      _limit(options.fibers),
      _kept_limit(options.fiber_stacks_kept) {}

fiber_pool::~fiber_pool() = default;

bool fiber_pool::start(detail::fiber_work& work) {
    if (_counters.live == _limit) {
        ++_counters.refused;
        return false;
    }
    if (_idle.empty()) {
        _idle.reserve(_fibers.size() + 1);
        _fibers.push_back(std::make_unique<fiber>(*this, _stack_bytes));
        _idle.push_back(_fibers.back().get());
        ++_counters.stacks;
    }
    fiber& chosen = *_idle.back();
    _idle.pop_back();
    ++_counters.started;
    ++_counters.live;
    chosen.begin(work);
    return true;
}

task* fiber_pool::current() const noexcept {
    return _current;
}

void fiber_pool::suspend() noexcept {
    _current->leave();
}

void fiber_pool::retire(fiber& ended) noexcept {
    --_counters.live;
    if (_idle.size() < _kept_limit) {
        _idle.push_back(&ended);
        return;
    }
    _high_water = std::max(_high_water, ended.stack_used());
    --_counters.stacks;
    std::erase_if(_fibers, [&ended](const auto& each) { return each.get() == &ended; });
}

std::size_t fiber_pool::stack_high_water() noexcept {
    for (const auto& each : _fibers) {
        _high_water = std::max(_high_water, each->stack_used());
    }
    return _high_water;
}

namespace detail {

task& running_fiber() noexcept {
    task* running = this_shard().fibers().current();
    // A future that is awaited outside a fiber, and not available, would block the shard for ever.
    WEIR_ASSERT(running != nullptr);
    return *running;
}

void suspend_fiber() noexcept {
    this_shard().fibers().suspend();
}

}  // namespace detail

}  // namespace weir
