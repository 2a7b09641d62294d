// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace weir {

/// Names a scheduling group of the host: the same on every shard. See scheduler.hh.
struct scheduling_group {
    std::uint8_t index = 0;
    friend bool operator==(scheduling_group, scheduling_group) = default;
};

/// What a task hands down to the tasks that it creates. A word, so that it is copied as one.
struct alignas(4) task_context {
    scheduling_group group;
    /// How many calls of other shards wait for this; see mesh.hh. What nobody need wait for begins
    /// at 0: see begins_anew.
    std::uint8_t call_depth = 0;
    /// How many led here, whether they wait or not: as many may, at most.
    std::uint8_t calls_above = 0;
    std::uint8_t unused = 0;  ///< else it is copied in parts
};

/// Something that runs on a shard when its turn comes: a coroutine, a continuation, a fiber.
/// It owns itself. It inherits the context of the task that creates it.
/// thread   one shard, for life
class task {
  public:
    task(const task&) = delete;
    task& operator=(const task&) = delete;

    /// Runs, once for each time it was made ready; may destroy the object.
    virtual void run() noexcept = 0;
    /// The address of the suspended coroutine if this task does nothing but resume one, which
    /// lets a child hand over to its parent without a detour through the queue; else null.
    virtual void* coroutine_address() noexcept { return nullptr; }

    const task_context& context() const noexcept { return _context; }

  protected:
    task() noexcept;
    explicit task(task_context context) noexcept : _context(context) {}
    ~task() = default;

    /// For tasks that are used again.
    void set_context(task_context context) noexcept { _context = context; }

  private:
    friend class task_queue;
    friend class shard;

    task* _next = nullptr;
    task_context _context;
};

/// Tasks in line. Intrusive: a task is in one queue at most.
class task_queue {
  public:
    bool empty() const noexcept { return _first == nullptr; }
    std::size_t size() const noexcept { return _size; }

    void push_back(task& added) noexcept {
        added._next = nullptr;
        (_last ? _last->_next : _first) = &added;
        _last = &added;
        ++_size;
    }

    void push_front(task& added) noexcept {
        added._next = _first;
        _first = &added;
        if (!_last) {
            _last = &added;
        }
        ++_size;
    }

    task& pop_front() noexcept {
        task& taken = *_first;
        _first = std::exchange(taken._next, nullptr);
        if (!_first) {
            _last = nullptr;
        }
        --_size;
        return taken;
    }

  private:
    task* _first = nullptr;
    task* _last = nullptr;
    std::size_t _size = 0;
};

}  // namespace weir
