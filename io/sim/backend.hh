// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <weir/io/backend.hh>
#include <weir/io/sim/engine.hh>
#include <weir/io/sim/socket.hh>
#include <weir/io/slice.hh>

namespace weir::io::sim {

class machine;
class shard_backend;

/// An operation under way. It outlives its host: then `work` is null and nothing comes of it.
struct request {
    operation* work = nullptr;
    shard_backend* owner = nullptr;
    std::size_t slot = 0;   // in shard_backend::_live
    socket_ref at;          // the socket that it holds
    bool answered = false;  // its last completion is on the way
    bool cancelled = false;
};

/// The kernel as one shard of a simulated host sees it.
class shard_backend final : public backend {
  public:
    shard_backend(engine& shared, machine& home, unsigned shard);
    ~shard_backend() override;

    instant now() noexcept override;
    wall_clock_ms wall_now() noexcept override;
    unsigned poll() override;
    void submit() override;
    /// Nobody parks in a simulation, except a test that drives a backend by hand: this runs the
    /// world until something completes here or the time comes.
    void park(instant until) override;
    void wake(poller& peer) override;
    void interrupt() noexcept override;
    void begin_slice() noexcept override;
    bool preempt(bool rung) noexcept override;
    unsigned next_look(unsigned checks, unsigned most) noexcept override;
    const std::atomic<std::uint32_t>* completions_word() const noexcept override {
        return &_completions_wait;
    }
    std::uint32_t completions_mask() const noexcept override { return 1; }
    void run_blocking(blocking_work& work) noexcept override;
    std::uint64_t random() noexcept override;
    bool shuffles() const noexcept override { return _engine.options.schedule.shuffles; }
    bool peers_stand_still() const noexcept override;
    void let_peers_run() override;
    void start(operation& work) noexcept override;
    void cancel(operation& work) noexcept override;
    void close_now(int fd) noexcept override;
    void release(const lent_buffer& buffer) noexcept override;

    // For the rest of the simulator.

    /// A turn begins, so much later than the world's time.
    void begin_turn(duration later) noexcept { _spent = later; }
    /// Time that the running turn has used so far.
    duration spent() const noexcept { return _spent; }
    duration take_spent() noexcept { return std::exchange(_spent, duration::zero()); }
    /// The running turn takes so much longer: for tests whose tasks compute in virtual time.
    void spend(duration time) noexcept { _spent += time; }
    bool completions_wait() const noexcept { return !_completed.empty(); }
    machine& home() noexcept { return _home; }
    unsigned shard() const noexcept { return _shard; }
    std::uint32_t buffer_size() const noexcept;
    /// A free buffer, or one without data if all are lent.
    lent_buffer lend() noexcept;
    /// Its result is on the way to the program.
    void answer(const request_ref& of, std::int32_t result, bool more = false,
                const lent_buffer& buffer = {}, std::vector<std::string> names = {});
    /// The host is no more.
    void detach() noexcept;

  private:
    struct finished {
        request_ref of;
        completion outcome;
        std::vector<std::string> names;
        blocking_work* blocking = nullptr;
    };

    void dispatch();
    void push(finished done);
    void forget(const request_ref& gone) noexcept;
    void deliver(finished& done);

    engine& _engine;
    machine& _home;
    unsigned _shard;
    random_stream _random;
    duration _spent{};
    slice _slice;
    unsigned _looks_left = 1;
    bool _interrupted = false;
    std::atomic<std::uint32_t> _completions_wait{0};
    std::vector<unsigned> _waking;  // shards that the next submit() wakes
    std::vector<request_ref> _live;
    std::vector<request_ref> _prepared;
    std::deque<request_ref> _waiting;
    std::size_t _running = 0;
    std::deque<finished> _completed;
    std::vector<std::byte> _buffer_memory;
    std::vector<std::uint32_t> _free_buffers;
    std::vector<std::uint8_t> _lent;
};

}  // namespace weir::io::sim
