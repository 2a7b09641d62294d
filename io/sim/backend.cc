// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/backend.hh>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/fiber.hh>
#include <weir/core/shard.hh>
#include <weir/io/sim/machine.hh>
#include <weir/io/sim/memory.hh>

namespace weir::io::sim {

namespace {
/// A turn that takes longer is asked to end, as the kernel's timer does there.
constexpr duration patience = std::chrono::milliseconds(1);
}  // namespace

shard_backend::shard_backend(engine& shared, machine& home, unsigned shard)
    : backend(shared.options.backend.budget),
      _engine(shared),
      _home(home),
      _shard(shard),
      _random(shared.stream(shared.seeds.next(), shard)),
      _slice(static_cast<std::uint64_t>(shared.options.schedule.quota.count()),
             static_cast<std::uint64_t>(shared.options.schedule.quota.count()) / 50),
      _buffer_memory(std::size_t{shared.options.backend.buffers} *
                     shared.options.backend.buffer_size),
      _lent(shared.options.backend.buffers) {
    for (std::uint32_t i = 0; i < shared.options.backend.buffers; ++i) {
        _free_buffers.push_back(i);
    }
}

shard_backend::~shard_backend() = default;

instant shard_backend::now() noexcept {
    _spent += duration(20);  // looking takes time, too
    if (_spent > patience && on_a_shard()) {
        this_shard().hurry();
    }
    return _home.clock().local(_engine.now() + _spent);
}

wall_clock_ms shard_backend::wall_now() noexcept {
    return _home.clock().wall(_engine.now() + _spent);
}

void shard_backend::begin_slice() noexcept {
    _slice.begin(static_cast<std::uint64_t>(_spent.count()));
    _looks_left = static_cast<unsigned>(
        _engine.schedule.between(1, _engine.options.schedule.looks_before_preempt));
}

bool shard_backend::preempt(bool rung) noexcept {
    if (_slice.over(static_cast<std::uint64_t>(_spent.count()), false)) {
        return true;
    }
    const time_range cost = _engine.options.schedule.slice_cost;
    _spent += _engine.schedule.between(cost.low, cost.high);
    if (rung && _engine.schedule.one_in(2)) {
        return true;
    }
    _looks_left -= _looks_left > 0;
    return _looks_left == 0;
}

unsigned shard_backend::next_look(unsigned checks, unsigned most) noexcept {
    return _slice.next_look(checks, most) == 1 ? 1 : most;
}

std::uint64_t shard_backend::random() noexcept {
    memory::outside guard;
    return _random.next();
}

void shard_backend::start(operation& work) noexcept {
    memory::outside guard;
    auto asked = std::make_shared<request>();
    asked->work = &work;
    asked->owner = this;
    asked->slot = _live.size();
    work.backend_data[0] = asked->slot + 1;
    _live.push_back(asked);
    _engine.log.event(_engine.now(), _home.id(), _shard, event_kind::start, work.what.index());
    _prepared.push_back(std::move(asked));
}

void shard_backend::submit() {
    memory::outside guard;
    for (const unsigned shard : std::exchange(_waking, {})) {
        _home.wake(shard, _spent);
    }
    for (request_ref& asked : std::exchange(_prepared, {})) {
        _waiting.push_back(std::move(asked));
    }
    dispatch();
}

void shard_backend::dispatch() {
    while (!_waiting.empty() && _running < _engine.options.backend.operations) {
        const request_ref asked = std::move(_waiting.front());
        _waiting.pop_front();
        if (!asked->answered) {
            ++_running;
            _home.execute(asked);
        }
    }
}

void shard_backend::cancel(operation& work) noexcept {
    memory::outside guard;
    const std::size_t slot = work.backend_data[0];
    if (slot == 0 || slot > _live.size() || _live[slot - 1]->work != &work) {
        return;
    }
    const request_ref asked = _live[slot - 1];
    asked->cancelled = true;
    _engine.log.event(_engine.now(), _home.id(), _shard, event_kind::cancel, slot);
    const duration delay = _engine.schedule.between(duration(100), microseconds(20));
    _engine.events.after(delay, [this, asked] {
        if (asked->work == nullptr || asked->answered) {
            return;
        }
        const bool queued = std::erase(_waiting, asked) != 0 || std::erase(_prepared, asked) != 0;
        _running += queued;  // so that answer() may count it off
        if (queued || _home.cancel(asked)) {
            answer(asked, -ECANCELED);
        }
    });
}

void shard_backend::close_now(int fd) noexcept {
    memory::outside guard;
    _home.close(fd);
}

lent_buffer shard_backend::lend() noexcept {
    if (_free_buffers.empty()) {
        return {};
    }
    const std::uint32_t id = _free_buffers.back();
    _free_buffers.pop_back();
    _lent[id] = 1;
    return {_buffer_memory.data() + std::size_t{id} * buffer_size(), 0, id};
}

std::uint32_t shard_backend::buffer_size() const noexcept {
    return _engine.options.backend.buffer_size;
}

void shard_backend::release(const lent_buffer& buffer) noexcept {
    memory::outside guard;
    WEIR_ASSERT(buffer.id < _lent.size() && _lent[buffer.id] == 1);
    _lent[buffer.id] = 0;
    // Whoever still reads a buffer that it gave back shall see that.
    std::fill_n(buffer.data, buffer_size(), std::byte{0xdb});
    _free_buffers.push_back(buffer.id);
}

void shard_backend::answer(const request_ref& of, std::int32_t result, bool more,
                           const lent_buffer& buffer, std::vector<std::string> names) {
    if (of->work == nullptr || of->answered) {
        return;
    }
    if (!more) {
        of->answered = true;
        --_running;
        if (of->at) {
            _home.let_go(std::exchange(of->at, nullptr));
        }
    }
    push({of, {result, more, buffer}, std::move(names)});
    if (!more && !_waiting.empty()) {
        _engine.events.after(duration(0), [this, home = &_home, process = _home.incarnation()] {
            if (home->runs(process)) {
                dispatch();
            }
        });
    }
}

void shard_backend::push(finished done) {
    _completed.push_back(std::move(done));
    // Relaxed: one thread; the word is atomic for the backends that a kernel writes.
    _completions_wait.store(1, std::memory_order_relaxed);
    _home.wake(_shard);
}

unsigned shard_backend::poll() {
    unsigned count = 0;
    while (!_completed.empty()) {
        finished done;
        {
            memory::outside guard;
            done = std::move(_completed.front());
            _completed.pop_front();
        }
        deliver(done);
        ++count;
        memory::outside guard;
        done = {};
    }
    _completions_wait.store(0, std::memory_order_relaxed);
    return count;
}

// Runs as the host: what complete() allocates, and the names of a directory, are the host's.
void shard_backend::deliver(finished& done) {
    if (done.blocking != nullptr) {
        done.blocking->complete();
        return;
    }
    operation* work = done.of->work;
    if (work == nullptr) {
        return;
    }
    if (done.of->cancelled && (done.outcome.result == -EINTR || done.outcome.result == -EAGAIN)) {
        done.outcome.result = -ECANCELED;
    }
    {
        memory::outside guard;
        _engine.log.event(
            _engine.now(), _home.id(), _shard, event_kind::complete,
            hash_bytes(done.outcome.buffer.data, done.outcome.buffer.length,
                       static_cast<std::uint64_t>(done.outcome.result) << 8 | work->what.index()));
        if (!done.outcome.more) {
            work->backend_data[0] = 0;
            forget(done.of);
        }
    }
    if (auto* list = std::get_if<op::list_directory>(&work->what)) {
        try {
            list->names->insert(list->names->end(), done.names.begin(), done.names.end());
        } catch (const std::bad_alloc&) {
            done.outcome.result = -ENOMEM;
        }
    }
    finish(*work, done.outcome);
}

void shard_backend::forget(const request_ref& gone) noexcept {
    request_ref& place = _live[gone->slot];
    if (_live.back() != gone) {
        place = _live.back();
        place->slot = gone->slot;
        place->work->backend_data[0] = place->slot + 1;
    }
    _live.pop_back();
    gone->work = nullptr;
}

void shard_backend::park(instant until) {
    memory::outside guard;
    submit();
    const instant end = _home.clock().world(until);
    while (_completed.empty() && !_interrupted) {
        if (_engine.events.next() > end) {
            _engine.events.advance(end);
            break;
        }
        WEIR_ASSERT(!_engine.events.empty());  // or nothing would ever end this wait
        _engine.events.step();
    }
    _interrupted = false;
}

void shard_backend::wake(poller& peer) {
    memory::outside guard;
    auto& other = static_cast<shard_backend&>(peer);
    _engine.log.event(_engine.now(), _home.id(), _shard, event_kind::wake, other._shard);
    _waking.push_back(other._shard);
}

bool shard_backend::peers_stand_still() const noexcept {
    return _home.shards() > 1 && _engine.options.schedule.held_up_one_in != 0;
}

// Not on a fiber's stack, which was made for one shard's frames.
void shard_backend::let_peers_run() {
    if (this_shard().fibers().current() == nullptr) {
        memory::outside guard;
        _home.hold_up(_shard);
    }
}

void shard_backend::interrupt() noexcept {
    memory::outside guard;
    _interrupted = true;
    _home.wake(_shard);
}

void shard_backend::run_blocking(blocking_work& work) noexcept {
    work.run();
    memory::outside guard;
    const time_range cost = _engine.options.disk.buffered;
    const duration delay = _engine.schedule.between(cost.low, 10 * cost.high);
    _engine.events.after(delay, [this, home = &_home, process = _home.incarnation(), &work] {
        if (home->runs(process)) {
            push({nullptr, {}, {}, &work});
        }
    });
}

void shard_backend::detach() noexcept {
    for (const request_ref& asked : _live) {
        asked->work = nullptr;
        asked->owner = nullptr;
        asked->at = nullptr;
    }
}

}  // namespace weir::io::sim
