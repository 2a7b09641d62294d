// SPDX-License-Identifier: Apache-2.0
#include <bench/cores_measure.hh>

#include <algorithm>
#include <barrier>
#include <cerrno>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <thread>

#include <bench/harness.hh>
#include <immintrin.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <weir/core/error.hh>
#include <weir/core/ring.hh>
#include <weir/core/topology.hh>

namespace weir::bench {

namespace {

constexpr std::size_t ring_capacity = 1024;
constexpr std::size_t batch = 64;
constexpr std::size_t line_bytes = 64;
constexpr std::uint64_t stop = UINT64_MAX;

// A slot as the mesh between shards has it.
struct alignas(line_bytes) message {
    std::uint64_t value;
    std::uint64_t rest[7];
};
using message_ring = weir::ring<message>;

// One thread's end of the pair. It is made on its own cpu: the ring lies near its producer and
// the gate near its reader.
struct side {
    message_ring ring{ring_capacity};
    weir::ring_gate gate;
    std::optional<message_ring::producer> out;
    std::optional<message_ring::reader> in;
    bool yields;

    explicit side(bool same_cpu) : yields(same_cpu) {}

    void relax() const {
        if (yields) {
            std::this_thread::yield();
        } else {
            _mm_pause();
        }
    }
    void send(std::uint64_t value) {
        while (!out->emplace(message{value, {}})) {
            relax();
        }
    }
    std::uint64_t receive() {
        for (;;) {
            if (const auto got = in->pop()) {
                return got->value;
            }
            relax();
        }
    }
};

double lead_round_trips(side& me, std::int64_t duration_ns) {
    constexpr int trips = 50;
    std::vector<double> samples;
    const std::int64_t end = now_ns() + duration_ns;
    for (std::int64_t start = now_ns(); start < end;) {
        for (int i = 0; i < trips; ++i) {
            me.send(1);
            me.receive();
        }
        const std::int64_t after = now_ns();
        samples.push_back(static_cast<double>(after - start) / trips);
        start = after;
    }
    me.send(stop);
    return median(std::move(samples));
}

void answer_round_trips(side& me) {
    for (std::uint64_t value = 0; (value = me.receive()) != stop;) {
        me.send(value);
    }
}

double send_all(side& me, std::int64_t duration_ns) {
    constexpr int batches_between_looks = 64;
    const message some[batch] = {};
    const std::int64_t start = now_ns();
    const std::int64_t end = start + duration_ns;
    double sent = 0;
    while (now_ns() < end) {
        for (int i = 0; i < batches_between_looks; ++i) {
            for (std::span<const message> rest(some); !rest.empty();) {
                const std::size_t pushed = me.out->push(rest);
                rest = rest.subspan(pushed);
                if (pushed == 0) {
                    me.relax();
                }
            }
            sent += batch;
        }
    }
    me.send(stop);
    me.receive();  // the other one has read them all
    return sent * 1e9 / static_cast<double>(now_ns() - start);
}

void take_all(side& me) {
    // Looks at every message: of an assignment the compiler would keep only a batch's last one.
    std::uint64_t seen = 0;
    while (seen != stop) {
        if (me.in->drain(batch, [&seen](const message& each) { seen |= each.value; }) == 0) {
            me.relax();
        }
    }
    me.send(0);
}

}  // namespace

pair_result measure_pair(cpu_pair at, std::int64_t duration_ns) {
    pair_result result;
    std::barrier together(2);
    side* ends[2] = {};  // the barriers publish them
    const auto run = [&](std::size_t number, unsigned cpu) {
        weir::pin_this_thread(cpu);
        side me(at.a == at.b);
        ends[number] = &me;
        together.arrive_and_wait();
        side& other = *ends[1 - number];
        me.out.emplace(me.ring.open());
        other.in.emplace(*me.out->join(other.gate));
        together.arrive_and_wait();
        if (number == 0) {
            result.round_trip_ns = lead_round_trips(me, duration_ns);
            result.forward_per_s = send_all(me, duration_ns);
            take_all(me);
        } else {
            answer_round_trips(me);
            take_all(me);
            result.backward_per_s = send_all(me, duration_ns);
        }
        together.arrive_and_wait();
        me.out->leave(std::move(*other.in));
        me.out.reset();
        together.arrive_and_wait();  // nobody's gate or ring goes before both are done with it
    };
    std::thread second(run, 1, at.b);
    std::thread first(run, 0, at.a);
    first.join();
    second.join();
    return result;
}

memory_block::memory_block(std::size_t bytes, unsigned cpu, int number)
    : _bytes(bytes / line_bytes * line_bytes),
      _memory(::mmap(nullptr, _bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
    if (_memory == MAP_FAILED) {
        throw weir::error::from_errno("map", "memory to measure", errno);
    }
    ::madvise(_memory, _bytes, MADV_HUGEPAGE);  // or else the latency is mostly the TLB's
    if (number >= 0) {
        unsigned long nodes[16] = {};
        constexpr unsigned word = sizeof nodes[0] * 8;
        const auto node = static_cast<unsigned>(number);
        if (node < std::size(nodes) * word) {
            nodes[node / word] = 1UL << (node % word);
        }
        // Where a container forbids it, first touch by a thread of the node does the same.
        ::syscall(SYS_mbind, _memory, _bytes, MPOL_BIND, nodes, std::size(nodes) * word, 0);
    }
    std::thread([this, cpu] {
        weir::pin_this_thread(cpu);
        const std::size_t lines = _bytes / line_bytes;
        std::vector<std::uint32_t> order(lines);
        std::iota(order.begin(), order.end(), 0U);
        std::mt19937_64 random(1);
        std::shuffle(order.begin(), order.end(), random);
        char* const base = static_cast<char*>(_memory);
        std::fill_n(base, _bytes, '\0');
        for (std::size_t i = 0; i < lines; ++i) {
            *reinterpret_cast<void**>(base + std::size_t{order[i]} * line_bytes) =
                base + std::size_t{order[(i + 1) % lines]} * line_bytes;
        }
    }).join();
}

memory_block::~memory_block() {
    ::munmap(_memory, _bytes);
}

double memory_block::latency_ns(unsigned cpu, std::int64_t duration_ns) const {
    double result = 0;
    std::thread([&] {
        weir::pin_this_thread(cpu);
        constexpr int steps = 4096;
        void* const volatile* at = static_cast<void* const volatile*>(_memory);
        double done = 0;
        const std::int64_t start = now_ns();
        std::int64_t now = start;
        while (now - start < duration_ns) {
            for (int i = 0; i < steps; ++i) {
                at = static_cast<void* const volatile*>(*at);
            }
            done += steps;
            now = now_ns();
        }
        result = static_cast<double>(now - start) / done;
    }).join();
    return result;
}

double memory_block::read_megabytes_per_s(const std::vector<unsigned>& cpus,
                                          std::int64_t duration_ns) const {
    constexpr std::size_t chunk = std::size_t{1} << 20;
    std::vector<double> rates(cpus.size());
    std::vector<std::uint64_t> sums(cpus.size());
    std::barrier together(static_cast<std::ptrdiff_t>(cpus.size()));
    std::vector<std::thread> threads;
    for (std::size_t number = 0; number < cpus.size(); ++number) {
        threads.emplace_back([&, number] {
            weir::pin_this_thread(cpus[number]);
            const auto* const words = static_cast<const std::uint64_t*>(_memory);
            const std::size_t count = _bytes / sizeof *words;
            const std::size_t step = std::min(chunk / sizeof *words, count);
            // Each thread starts in its own part and goes round the whole, so that no part is
            // read twice before all of it went through the caches.
            std::size_t place = count / cpus.size() * number / step * step;
            std::uint64_t sum = 0;
            double bytes = 0;
            together.arrive_and_wait();
            const std::int64_t start = now_ns();
            std::int64_t now = start;
            for (; now - start < duration_ns; now = now_ns()) {
                if (place + step > count) {
                    place = 0;
                }
                sum += std::accumulate(words + place, words + place + step, std::uint64_t{0});
                place += step;
                bytes += static_cast<double>(step * sizeof *words);
            }
            sums[number] = sum;
            rates[number] = bytes * 1e3 / static_cast<double>(now - start);
        });
    }
    for (std::thread& each : threads) {
        each.join();
    }
    const volatile std::uint64_t keep = std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
    static_cast<void>(keep);
    return std::accumulate(rates.begin(), rates.end(), 0.0);
}

}  // namespace weir::bench
