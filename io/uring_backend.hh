// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <weir/io/listening.hh>
#include <weir/io/operation_list.hh>
#include <weir/io/slice.hh>
#include <weir/io/uring.hh>
#include <weir/io/uring_buffers.hh>
#include <weir/io/uring_ring.hh>

struct io_uring_sqe;

namespace weir::io {

/// The uring backend itself; others see uring.hh. Two halves: uring.cc is the poller (turns,
/// sleep, wake), uring_operations.cc takes operations from start to completion.
class uring_backend final : public uring, private thread_pool::client {
  public:
    uring_backend(const uring_options& options, thread_pool& pool, const cycle_counter& cycles,
                  listening_addresses* shared);
    ~uring_backend() override;

    instant now() noexcept override { return _clock.now(); }
    wall_clock_ms wall_now() noexcept override { return wall_clock_now(); }
    unsigned poll() override;
    bool has_completions() const noexcept override {
        return _ring.ready() != 0 || has_finished() || !_finished.empty();
    }
    void submit() override;
    void submit_before_park() override {}
    void park(instant until) override;
    void wake(poller& peer) override;
    void interrupt() noexcept override;
    void begin_slice() noexcept override { _slice.begin(_clock.ticks()); }
    bool preempt(bool rung) noexcept override { return _slice.over(_cycles.now(), rung); }
    unsigned next_look(unsigned checks, unsigned most) noexcept override {
        return _slice.next_look(checks, most);
    }
    const std::atomic<std::uint32_t>* completions_word() const noexcept override;
    std::uint32_t completions_mask() const noexcept override;
    void run_blocking(blocking_work& work) noexcept override { client::submit(work); }
    std::uint64_t random() noexcept override;

    void start(operation& work) noexcept override;
    void cancel(operation& work) noexcept override;
    void close_now(int fd) noexcept override;
    void release(const lent_buffer& buffer) noexcept override;

    void cancel_all() override;
    void stop() override;
    const uring_statistics& statistics() const noexcept override { return _statistics; }
    const std::string& description() const noexcept override { return _ring.description(); }

  private:
    /// Whether the shard sleeps, as interrupt() and wake() see it. A message that will wake it may
    /// still be with its sender: who comes then doesn't wait for that.
    enum class sleep : std::uint32_t { awake, parked, message_prepared, interrupted };
    enum class launched : std::uint8_t { in_kernel, in_pool, finished, no_entry };
    struct line {
        operation_list waiting;
        std::uint64_t* in_flight;
        std::uint64_t limit;
    };
    struct pooled_call;

    void bind();
    void notify() noexcept override { interrupt(); }
    void arm_event() noexcept;
    void write_event() noexcept;
    bool prepare_message(uring_backend& to) noexcept;
    void prepare_turn_end() noexcept;
    unsigned take(const struct ring_completion& entry) noexcept;
    static std::int32_t told(std::int32_t result) noexcept;
    unsigned take_finished_calls() noexcept;
    unsigned take_finished_operations() noexcept;

    line& line_of(const operation& work) noexcept;
    void feed_lines() noexcept;
    launched launch(operation& work) noexcept;
    launched finish(operation& work, std::int32_t result) noexcept;
    launched call_in_pool(operation& work) noexcept;
    bool close_listener(int fd) noexcept;
    launched into_kernel(operation& work) noexcept;
    void push_files() noexcept;
    bool send_cancel(operation& work) noexcept;
    void send_owed_cancels() noexcept;
    void owe_cancels_again() noexcept;
    void take_operation(operation& work, const struct ring_completion& entry) noexcept;
    void take_send(operation& work, const struct ring_completion& entry) noexcept;
    void take_open(operation& work, std::int32_t result) noexcept;
    void launch_again(operation& work) noexcept;
    void leave_kernel(operation& work) noexcept;
    void take_status(operation& work, std::int32_t result) noexcept;
    void deliver(operation& work, const completion& outcome) noexcept;

    const uring_options _options;
    const cycle_counter _cycles;
    counted_clock _clock;
    slice _slice;
    std::uint64_t _random_state;
    uring_statistics _statistics;
    kernel_ring _ring;
    receive_buffers _buffers;
    int _event = -1;
    bool _event_armed = false;
    bool _stopping = false;
    bool _cancels_owed = false;
    bool _cancel_missed = false;
    std::optional<std::thread::id> _owner;

    operation_list _in_kernel;
    operation_list _finished;  // with their result, until the next poll
    line _files;
    line _sockets;
    std::list<pooled_call> _pooled;
    std::unique_ptr<listening_addresses> _own_listening;  // where no host has them
    listening_addresses* const _listening;
    std::vector<int> _listeners;  // descriptors of this shard's: few
    unsigned _will_listen = 0;    // operations under way that may yield one

    alignas(64) std::atomic<sleep> _sleep = sleep::awake;
};

}  // namespace weir::io
