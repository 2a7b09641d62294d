// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include <weir/core/time.hh>
#include <weir/io/sim/trace.hh>

namespace weir::io::sim {

/// A stream of random numbers, the same on every machine and compiler. Each part of the world
/// has its own, so that a change to one does not reshuffle the others.
/// source   Blackman and Vigna, xoshiro256**, seeded by splitmix64
class random_stream {
  public:
    /// stream   distinguishes streams of one seed
    /// log      every draw is hashed there; may be null
    random_stream(std::uint64_t seed, std::uint64_t stream, trace* log) noexcept : _log(log) {
        std::uint64_t state = seed ^ (stream * 0xd1342543de82ef95 + 0x2545f4914f6cdd1d);
        for (std::uint64_t& word : _state) {
            word = splitmix(state);
        }
    }

    std::uint64_t next() {
        const std::uint64_t value = rotate(_state[1] * 5, 7) * 9;
        const std::uint64_t shifted = _state[1] << 17;
        _state[2] ^= _state[0];
        _state[3] ^= _state[1];
        _state[1] ^= _state[2];
        _state[0] ^= _state[3];
        _state[2] ^= shifted;
        _state[3] = rotate(_state[3], 45);
        if (_log != nullptr) {
            _log->draw(value);
        }
        return value;
    }
    /// returns  0 .. n-1; n must not be 0
    std::uint64_t below(std::uint64_t n) {
        return static_cast<std::uint64_t>(static_cast<unsigned __int128>(next()) * n >> 64);
    }
    /// returns  low .. high, both included
    std::uint64_t between(std::uint64_t low, std::uint64_t high) {
        return low + below(high - low + 1);
    }
    duration between(duration low, duration high) {
        return low + duration(below(static_cast<std::uint64_t>((high - low).count()) + 1));
    }
    bool one_in(std::uint64_t n) { return below(n) == 0; }
    /// Draws nothing when the answer is certain, so that a fault switched off costs nothing.
    bool chance(std::uint32_t parts_per_million) {
        return parts_per_million != 0 && below(1'000'000) < parts_per_million;
    }

    static std::uint64_t splitmix(std::uint64_t& state) noexcept {
        std::uint64_t z = state += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

  private:
    static std::uint64_t rotate(std::uint64_t value, int by) noexcept {
        return value << by | value >> (64 - by);
    }

    std::array<std::uint64_t, 4> _state{};
    trace* _log;
};

}  // namespace weir::io::sim
