// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>

#include <weir/core/scheduler.hh>
#include <weir/io/backend.hh>
#include <weir/io/budget_window.hh>
#include <weir/io/operation_list.hh>

namespace weir::io {

/// A read or write of a file: what a budget admits. Whoever completes it tells the budget first.
class data_operation : public operation {
  public:
    explicit data_operation(any_op what) noexcept : operation(what) {}

  protected:
    ~data_operation() = default;

  private:
    friend class budget;

    enum class state : std::uint8_t { idle, waiting, in_flight };

    std::uint64_t _cost = 0;
    instant _since{};  // it waits, then is in flight
    std::uint8_t _group = 0;
    std::uint8_t _kind = 0;
    bool _copied = false;  // by the processor
    bool _found_idle = false;
    state _state = state::idle;
};

/// What a group has asked of files; read by metrics.
struct budget_counters {
    std::uint64_t in_flight = 0;  ///< operations, now
    std::uint64_t waiting = 0;    ///< operations, now
    std::uint64_t admitted = 0;   ///< operations so far
    std::uint64_t bytes = 0;      ///< of these
    std::uint64_t wait_ns = 0;    ///< that these waited together
};

/// The budget of a shard's reads and writes of files, which all pass here (submit.cc). While one
/// group uses the device it holds nobody back but at window_max. While several do, only so much is
/// in flight as the device works on without a line of its own (budget_window.hh); the rest waits
/// here, in order within its group, and room goes to the groups in proportion to their I/O shares
/// (scheduler.hh). A group that has nothing in flight is let in beyond the window, up to an eighth
/// of it, so that it does not pay for the others' lines.
///
/// What the processor copies keeps it from all else meanwhile. So one turn of the shard starts only
/// copied_bytes_max of that, whoever's they are; the rest waits for the next turn.
/// thread   the shard's
/// cost     some loads and stores while there is room; never allocates
/// source   Shreedhar and Varghese, Efficient Fair Queuing Using Deficit Round Robin, 1995
class budget {
  public:
    /// fails    throws errc::malformed: see budget_options::check
    budget(backend& to, const budget_options& options);
    budget(const budget&) = delete;
    budget& operator=(const budget&) = delete;

    /// Starts a read or write at the backend, now or when its group's turn comes.
    void start(data_operation& work) noexcept;
    /// The first step of its completion: room for others.
    void finished(data_operation& work) noexcept;
    /// Takes it out of the line where it waits. It never starts, and is the caller's again.
    /// returns  false if it does not wait: it is in flight, and completes
    bool withdraw(data_operation& work) noexcept;
    /// Completes all that wait with -ECANCELED.
    void cancel_waiting() noexcept;

    const budget_options& options() const noexcept { return _options; }
    const budget_counters& of(scheduling_group group) const noexcept {
        return _groups[group.index].counted;
    }
    const budget_window& window() const noexcept { return _window; }
    /// What may be in flight now: the window while it is in force, else window_max.
    const std::uint64_t& limit() const noexcept { return _limit; }
    const std::uint64_t& in_flight() const noexcept { return _in_flight; }  ///< cost
    std::uint64_t waiting() const noexcept { return _waiting; }             ///< operations
    /// Operations so far that waited for a turn to copy them.
    const std::uint64_t& waited_for_turn() const noexcept { return _waited_for_turn; }
    bool contended() const noexcept { return _contended; }

    /// Calls `fn` for each group that has used it, now or once it does.
    void on_group(std::function<void(scheduling_group)> fn);

  private:
    static constexpr unsigned no_group = scheduler::max_groups;

    struct group_state {
        operation_list line;
        std::uint64_t deficit = 0;  // cost that it may still start in this round
        bool has_turn = false;      // it got this round's quantum
        bool known = false;
        budget_counters counted;
    };

    /// The groups that wait, in the order of their turns: each once, so it never overflows.
    class turns {
      public:
        unsigned size() const noexcept { return _size; }
        unsigned front() const noexcept { return _groups[_first]; }
        unsigned at(unsigned place) const noexcept { return _groups[wrapped(_first + place)]; }
        void push_back(unsigned group) noexcept {
            _groups[wrapped(_first + _size++)] = static_cast<std::uint8_t>(group);
        }
        void pop_front() noexcept {
            _first = wrapped(_first + 1);
            --_size;
        }
        void remove(unsigned group) noexcept;

      private:
        static unsigned wrapped(unsigned place) noexcept { return place % scheduler::max_groups; }
        std::array<std::uint8_t, scheduler::max_groups> _groups{};
        unsigned _first = 0;
        unsigned _size = 0;
    };

    void note_group(unsigned index, instant now) noexcept;
    bool fits_turn(const data_operation& work) noexcept;
    void admit(data_operation& work, instant now) noexcept;
    void put_in_line(data_operation& work, instant now) noexcept;
    void take_from_line(data_operation& work) noexcept;
    void admit_waiting(instant now) noexcept;
    void skip_rounds() noexcept;
    std::uint64_t quantum_of(unsigned index) const noexcept;
    void set_limit() noexcept { _limit = _contended ? _window.size() : _options.window_max; }

    backend& _backend;
    const budget_options _options;
    std::uint64_t _in_flight = 0;  // cost
    std::uint64_t _limit;
    std::uint64_t _waiting = 0;
    std::uint64_t _turn = 0;            // of the shard
    std::uint64_t _copied_in_turn = 0;  // bytes
    std::uint64_t _waited_for_turn = 0;
    unsigned _last_group = no_group;  // that started something
    bool _contended = false;
    instant _switched{};  // when another group than the last started something
    budget_window _window;
    turns _turns;
    std::array<group_state, scheduler::max_groups> _groups;
    std::function<void(scheduling_group)> _on_group;
};

}  // namespace weir::io
