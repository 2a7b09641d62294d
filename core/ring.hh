// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <new>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>

#include <weir/core/sequencer.hh>

namespace weir {

/// A range of slots as at most two pieces of memory: the second holds what wraps around.
template <typename T>
struct slot_spans {
    std::span<T> head;
    std::span<T> tail;
};

/// Typed slots of a ring, raw until the producer constructs them. Several columns can share a
/// sequencer. The memory isn't touched before it is used, so it lies near the producer.
template <typename T>
class column {
  public:
    /// capacity  that of the sequencer
    explicit column(std::size_t capacity)
        : _mask(capacity - 1),
          _slots(static_cast<T*>(::operator new(bytes(capacity), std::align_val_t(alignment)))) {
        WEIR_ASSERT(capacity != 0 && (capacity & (capacity - 1)) == 0);
    }
    ~column() { ::operator delete(_slots, std::align_val_t(alignment)); }
    column(const column&) = delete;
    column& operator=(const column&) = delete;

    T* slot(sequence at) const noexcept { return _slots + (static_cast<std::size_t>(at) & _mask); }

    slot_spans<T> slots(sequence_range range) const noexcept {
        const std::size_t start = static_cast<std::size_t>(range.first) & _mask;
        const std::size_t head = std::min(range.count, _mask + 1 - start);
        return {{_slots + start, head}, {_slots, range.count - head}};
    }

    /// Ends the life of the elements of `range`.
    void destroy(sequence_range range) const noexcept {
        if constexpr (!std::is_trivially_destructible_v<T>) {
            const slot_spans<T> spans = slots(range);
            std::destroy(spans.head.begin(), spans.head.end());
            std::destroy(spans.tail.begin(), spans.tail.end());
        }
    }

  private:
    static constexpr std::size_t alignment = std::max(line_pair, alignof(T));
    static std::size_t bytes(std::size_t capacity) {
        WEIR_ASSERT(capacity <= static_cast<std::size_t>(sequence_never) / 2 / sizeof(T));
        return (capacity * sizeof(T) + line_pair - 1) / line_pair * line_pair;
    }

    const std::size_t _mask;
    T* const _slots;
};

/// A sequencer with one column, and handles for its two sides that can be moved but not copied:
/// who holds `producer` is the single producer. The ring must outlive its handles.
///
///     weir::ring<message> ring(1024);
///     auto out = ring.open();
///     auto in = *out.join();
///     out.emplace(7);
///     in.drain(64, [](const message& each) { ... });
template <typename T>
class ring {
  public:
    class producer;
    class reader;

    /// capacity     slots, a power of two from 1 on
    /// max_readers  readers at a time, those that joined with a gate of their own included
    /// first        the number of the first element
    explicit ring(std::size_t capacity, std::size_t max_readers = 1, sequence first = 0)
        : _column(capacity),
          _gates(std::make_unique<ring_gate[]>(max_readers)),
          _max_readers(max_readers),
          _sequencer(capacity, max_readers, first) {}
    ~ring() {
        WEIR_ASSERT(!_opened);
        _column.destroy(_sequencer.held());
    }
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    std::size_t capacity() const noexcept { return _sequencer.capacity(); }
    /// returns  the last published sequence; only a sample
    /// thread   any
    sequence cursor() const noexcept { return _sequencer.cursor(); }

    /// Hands out the producer. Asserts that there is none.
    /// thread   the ring's, before the handle is given to another
    producer open() noexcept {
        WEIR_ASSERT(!_opened);
        _opened = true;
        return producer(this);
    }

  private:
    auto destroyer() noexcept {
        return [this](sequence_range freed) { _column.destroy(freed); };
    }

    // Line pair 0, constant: both sides read it.
    alignas(line_pair) const column<T> _column;
    const std::unique_ptr<ring_gate[]> _gates;
    const std::size_t _max_readers;
    bool _opened = false;  // written at both ends of the producer's life only
    // Line pairs 1 and 2. Last, so that it goes before the gates, which it lets go.
    sequencer _sequencer;
};

/// The writing side. Its end closes the ring.
template <typename T>
class ring<T>::producer {
  public:
    producer(producer&& other) noexcept : _ring(std::exchange(other._ring, nullptr)) {}
    producer& operator=(producer&& other) noexcept {
        producer moved(std::move(other));
        std::swap(_ring, moved._ring);
        return *this;
    }
    ~producer() {
        if (_ring != nullptr) {
            close();
            _ring->_opened = false;
        }
    }

    /// As sequencer::claim. The slots are raw memory: construct elements in them, in order,
    /// before they are published; an element constructed and never published isn't destroyed.
    sequence_range claim(std::size_t n) { return _ring->_sequencer.claim(n, _ring->destroyer()); }
    /// Gives the `n` newest claimed slots back, unpublished.
    void unclaim(std::size_t n) noexcept { _ring->_sequencer.unclaim(n); }
    /// Shows the `n` oldest claimed slots to the readers.
    void publish(std::size_t n) noexcept { _ring->_sequencer.publish(n); }

    T* slot(sequence at) const noexcept { return _ring->_column.slot(at); }
    slot_spans<T> slots(sequence_range range) const noexcept { return _ring->_column.slots(range); }

    /// Begins to fetch the line that publish() writes, when that is near.
    void prefetch() const noexcept { _ring->_sequencer.prefetch(); }

    /// Constructs an element in the next slot and publishes it. Nothing may be claimed.
    /// returns  false when the ring is full or closed; then nothing was constructed
    template <typename... Arguments>
    bool emplace(Arguments&&... arguments) {
        static_assert(std::is_nothrow_constructible_v<T, Arguments...>,
                      "construct what can throw before it enters the ring");
        sequencer& order = _ring->_sequencer;
        const sequence at = order.next(_ring->destroyer());
        if (at < 0) {
            return false;
        }
        std::construct_at(slot(at), std::forward<Arguments>(arguments)...);
        order.publish_next(at);
        return true;
    }

    /// Copies elements in and publishes them at once. Nothing may be claimed.
    /// returns  how many found room: the first ones
    std::size_t push(std::span<const T> elements) {
        static_assert(std::is_nothrow_copy_constructible_v<T>,
                      "construct what can throw before it enters the ring");
        WEIR_ASSERT(claimed() == 0);
        const sequence_range range = claim(elements.size());
        const slot_spans<T> to = slots(range);
        std::uninitialized_copy_n(elements.begin(), to.head.size(), to.head.begin());
        std::uninitialized_copy_n(elements.begin() + static_cast<std::ptrdiff_t>(to.head.size()),
                                  to.tail.size(), to.tail.begin());
        if (!range.empty()) {
            publish(range.count);
        }
        return range.count;
    }

    /// Destroys what every reader has released and drops readers that left. claim() does so only
    /// when it runs out of room; call this once a turn, so that what elements hold comes back
    /// from a quiet ring as well.
    /// returns  how many elements were destroyed
    std::size_t reclaim() { return _ring->_sequencer.reclaim(_ring->destroyer()); }

    /// Adds a reader, who sees what is published from now on.
    /// returns  nothing when max_readers are joined
    std::optional<reader> join() {
        reclaim();
        for (std::size_t i = 0; i < _ring->_max_readers; ++i) {
            if (!_ring->_gates[i].joined()) {
                return join(_ring->_gates[i]);
            }
        }
        return std::nullopt;
    }
    /// Adds a reader whose gate lies in its own memory, and outlives its being joined.
    std::optional<reader> join(ring_gate& place) {
        if (!_ring->_sequencer.join(place, _ring->cursor() + 1, _ring->destroyer())) {
            return std::nullopt;
        }
        return reader(&_ring->_column, &place, _ring->_max_readers == 1);
    }
    /// Takes a reader out at once: on return its gate is no longer joined. The reader comes
    /// here by move, so its thread has let go of it.
    void leave(reader&& going) {
        going.leave();
        reclaim();
    }

    /// No element after the last published one; claims not published are void.
    void close() noexcept {
        if (!closed()) {
            _ring->_sequencer.close();
        }
    }
    /// Announces the last element ahead of time; claims stop there. As sequencer::close_at.
    void close_at(sequence last) noexcept { _ring->_sequencer.close_at(last); }
    /// returns  whether the last element is known and published
    bool closed() const noexcept { return _ring->_sequencer.end() <= _ring->cursor(); }

    std::size_t capacity() const noexcept { return _ring->capacity(); }
    sequence cursor() const noexcept { return _ring->cursor(); }
    /// returns  slots claimed and not published
    std::size_t claimed() const noexcept { return _ring->_sequencer.claimed(); }
    /// returns  elements published and not yet destroyed, as far as the producer knows
    std::size_t held() const noexcept { return _ring->_sequencer.held().count; }
    /// returns  joined readers, those included that left and were not noticed yet
    std::size_t readers() const noexcept { return _ring->_sequencer.gates(); }

  private:
    friend class ring;
    explicit producer(ring* of) noexcept : _ring(of) {}

    ring* _ring;
};

/// A reading side: one of them is read by one thread at a time. Its end leaves the ring.
template <typename T>
class ring<T>::reader {
  public:
    reader(reader&& other) noexcept
        : _column(other._column), _gate(std::exchange(other._gate, nullptr)), _sole(other._sole) {}
    reader& operator=(reader&& other) noexcept {
        reader moved(std::move(other));
        std::swap(_column, moved._column);
        std::swap(_gate, moved._gate);
        std::swap(_sole, moved._sole);
        return *this;
    }
    ~reader() { leave(); }

    /// As ring_gate::read: up to `max` elements, from the oldest one not released on.
    sequence_range read(std::size_t max) noexcept { return _gate->read(max); }
    /// returns  how many elements wait
    std::size_t ready() noexcept { return _gate->refresh(); }
    const T& operator[](sequence at) const noexcept { return *_column->slot(at); }
    slot_spans<const T> slots(sequence_range range) const noexcept {
        const slot_spans<T> spans = _column->slots(range);
        return {spans.head, spans.tail};
    }
    /// Begins to fetch what read() and its first element need, when something is known to wait.
    void prefetch() const noexcept {
        _gate->prefetch();
        prefetch_to_read(_column->slot(next()));
    }
    /// Gives the `n` oldest elements back; the producer destroys them.
    void release(std::size_t n) noexcept { _gate->release(n); }
    /// As ring_gate::release_to: the reader's next element is `next`, perhaps not yet published.
    void release_to(sequence next) noexcept { _gate->release_to(next); }

    /// Calls `function` with up to `max` elements in order, then releases them at once. An
    /// exception releases those before its element.
    /// returns  how many
    template <typename Function>
    std::size_t drain(std::size_t max, Function&& function) {
        const sequence_range range = read(max);
        if (range.empty()) {
            return 0;
        }
        struct releaser {
            ring_gate* place;
            sequence next;
            ~releaser() { place->release_to(next); }
        } done{_gate, range.first};
        for (; done.next != range.end(); ++done.next) {
            function((*this)[done.next]);
        }
        return range.count;
    }

    /// Moves the oldest element out and releases it. Where other readers could see the slot it
    /// is copied, and has to be trivially copyable.
    /// returns  nothing when the reader has caught up
    std::optional<T> pop() {
        WEIR_ASSERT(_sole || std::is_trivially_copyable_v<T>);
        const sequence_range range = read(1);
        if (range.empty()) {
            return std::nullopt;
        }
        std::optional<T> element(std::move(*_column->slot(range.first)));
        release_to(range.end());
        return element;
    }

    /// returns  whether the ring is closed and all of it released
    bool finished() const noexcept { return _gate->finished(); }
    /// returns  the next sequence that this reader wants
    sequence next() const noexcept { return _gate->next(); }

    /// Stops reading: this handle is empty afterwards, the producer no longer waits for it.
    void leave() noexcept {
        if (ring_gate* const place = std::exchange(_gate, nullptr)) {
            place->leave();
        }
    }

  private:
    friend class ring;
    reader(const column<T>* slots, ring_gate* place, bool sole) noexcept
        : _column(slots), _gate(place), _sole(sole) {}

    const column<T>* _column;
    ring_gate* _gate;
    bool _sole;
};

}  // namespace weir
