// SPDX-License-Identifier: Apache-2.0
// Our ring one to one, beside boost::lockfree::spsc_queue and the LMAX Disruptor: the same
// capacity, the same payload, a thread on each of two CPUs, sums checked.
#include <weir/core/ring.hh>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <thread>

#include <bench/harness.hh>
#include <bench/lmax_driver.hh>
#include <bench/run_length.hh>
#include <boost/lockfree/policies.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <fmt/format.h>

namespace weir::bench {
namespace {

constexpr std::size_t capacity = 65'536;
constexpr std::size_t most_at_once = 64;

/// What the mesh between shards moves: a cache line.
struct message {
    message() noexcept : parts{} {}
    explicit message(std::int64_t n) noexcept : parts{n, n, n, n, n, n, n, n} {}
    explicit operator std::int64_t() const noexcept { return parts[0] ^ parts[3] ^ parts[7]; }
    std::array<std::int64_t, 8> parts;
};
static_assert(sizeof(message) == 64);

template <typename T>
using boost_queue = boost::lockfree::spsc_queue<T, boost::lockfree::capacity<capacity>>;

struct cpus {
    int producer;
    int consumer;
};

/// What everybody does who finds a ring empty or full, as LMAX's BusySpinWaitStrategy does too.
/// Whoever polls harder takes the line from the one who is about to write it.
void wait() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// Runs both functions at once, each on its CPU.
/// consume  returns the sum of what it received, to be that of 0..count-1
/// returns  nanoseconds from the start of the first to the end of the last
template <typename Produce, typename Consume>
double together(cpus where, std::int64_t count, Produce&& produce, Consume&& consume) {
    std::atomic<int> ready = 0;
    const auto meet = [&ready] {
        ready.fetch_add(1);
        while (ready.load() != 2) {
        }
    };
    std::int64_t started = 0;
    std::int64_t finished = 0;
    std::int64_t sum = 0;
    std::thread producer([&] {
        pin_to_cpu(where.producer);
        meet();
        started = now_ns();
        produce();
    });
    std::thread consumer([&] {
        pin_to_cpu(where.consumer);
        meet();
        sum = consume();
        finished = now_ns();
    });
    producer.join();
    consumer.join();
    if (sum != count * (count - 1) / 2) {
        fmt::print(stderr, "bench_ring: wrong sum {}\n", sum);
        std::terminate();
    }
    return static_cast<double>(finished - started);
}

/// One of the ways to move `count` elements; returns elements per second.
template <typename T>
struct ours_side {
    ring<T> storage{capacity};
    typename ring<T>::producer out = storage.open();
    typename ring<T>::reader in = *out.join();

    void send(std::int64_t value) {
        while (!out.emplace(value)) {
            wait();
        }
    }
    std::int64_t receive() {
        while (true) {
            if (const auto element = in.pop()) {
                return static_cast<std::int64_t>(*element);
            }
            wait();
        }
    }
    void send_all(std::int64_t count, std::size_t batch) {
        for (std::int64_t next = 0; next != count;) {
            const auto left = static_cast<std::size_t>(count - next);
            const sequence_range range = out.claim(std::min(batch, left));
            const slot_spans<T> spans = out.slots(range);
            for (T& slot : spans.head) {
                std::construct_at(&slot, next++);
            }
            for (T& slot : spans.tail) {
                std::construct_at(&slot, next++);
            }
            range.empty() ? wait() : out.publish(range.count);
        }
    }

    double one_by_one(cpus where, std::int64_t count, bool popping) {
        const auto produce = [&] {
            for (std::int64_t i = 0; i < count; ++i) {
                send(i);
            }
        };
        const auto consume = [&] {
            std::int64_t sum = 0;
            for (std::int64_t left = count; left != 0;) {
                if (popping) {
                    sum += receive();
                    --left;
                    continue;
                }
                const std::size_t got = in.drain(
                    capacity, [&](const T& each) { sum += static_cast<std::int64_t>(each); });
                if (got == 0) {
                    wait();
                }
                left -= static_cast<std::int64_t>(got);
            }
            return sum;
        };
        return count * 1e9 / together(where, count, produce, consume);
    }

    double batched(cpus where, std::int64_t count) {
        const auto consume = [&] {
            std::int64_t sum = 0;
            for (std::int64_t left = count; left != 0;) {
                const std::size_t got = in.drain(
                    capacity, [&](const T& each) { sum += static_cast<std::int64_t>(each); });
                if (got == 0) {
                    wait();
                }
                left -= static_cast<std::int64_t>(got);
            }
            return sum;
        };
        return count * 1e9 /
               together(where, count, [&] { send_all(count, most_at_once); }, consume);
    }
};

template <typename T>
struct boost_side {
    boost_queue<T> queue;

    void send(std::int64_t value) {
        while (!queue.push(T(value))) {
            wait();
        }
    }
    std::int64_t receive() {
        T element;
        while (!queue.pop(element)) {
            wait();
        }
        return static_cast<std::int64_t>(element);
    }

    double one_by_one(cpus where, std::int64_t count, bool popping) {
        const auto produce = [&] {
            for (std::int64_t i = 0; i < count; ++i) {
                send(i);
            }
        };
        const auto consume = [&] {
            std::int64_t sum = 0;
            for (std::int64_t left = count; left != 0;) {
                if (popping) {
                    sum += receive();
                    --left;
                    continue;
                }
                const std::size_t got = queue.consume_all(
                    [&](const T& each) { sum += static_cast<std::int64_t>(each); });
                if (got == 0) {
                    wait();
                }
                left -= static_cast<std::int64_t>(got);
            }
            return sum;
        };
        return count * 1e9 / together(where, count, produce, consume);
    }

    double batched(cpus where, std::int64_t count) {
        const auto produce = [&] {
            std::array<T, most_at_once> buffer;
            for (std::int64_t next = 0; next != count;) {
                const std::size_t size =
                    std::min(buffer.size(), static_cast<std::size_t>(count - next));
                for (std::size_t i = 0; i < size; ++i) {
                    buffer[i] = T(next++);
                }
                for (std::size_t sent = 0; sent != size;) {
                    const std::size_t now = queue.push(buffer.data() + sent, size - sent);
                    if (now == 0) {
                        wait();
                    }
                    sent += now;
                }
            }
        };
        const auto consume = [&] {
            std::array<T, most_at_once> buffer;
            std::int64_t sum = 0;
            for (std::int64_t left = count; left != 0;) {
                const std::size_t got = queue.pop(buffer.data(), buffer.size());
                if (got == 0) {
                    wait();
                }
                for (std::size_t i = 0; i < got; ++i) {
                    sum += static_cast<std::int64_t>(buffer[i]);
                }
                left -= static_cast<std::int64_t>(got);
            }
            return sum;
        };
        return count * 1e9 / together(where, count, produce, consume);
    }
};

/// One element goes there and back, over two rings or queues.
template <typename Side>
double round_trip_ns(cpus where, std::int64_t count, Side& there, Side& back) {
    const auto answer = [&] {
        std::int64_t sum = 0;
        for (std::int64_t i = 0; i < count; ++i) {
            const std::int64_t value = there.receive();
            sum += value;
            back.send(value);
        }
        return sum;
    };
    const auto ask = [&] {
        for (std::int64_t i = 0; i < count; ++i) {
            there.send(i);
            if (back.receive() != i) {
                std::terminate();
            }
        }
    };
    return together(where, count, ask, answer) / static_cast<double>(count);
}

class ring_bench {
  public:
    ring_bench(report& out, cpus where, lmax_driver* lmax)
        : _out(out), _where(where), _lmax(lmax) {}

    void run() {
        beside_boost<std::int64_t>("word");
        beside_boost<message>("line");
        if (_lmax != nullptr) {
            beside_lmax();
        }
    }

  private:
    template <typename Ours, typename Peer>
    void throughput(const std::string& name, const std::string& peer_name, Ours&& ours,
                    Peer&& peer) {
        if (!_out.wanted(name)) {
            return;
        }
        row& figure = _out.add(name, "per_s", better::higher, peer_name);
        run_length ours_length(_out.seconds(), 1 << 20);
        run_length peer_length(_out.seconds(), 1 << 20);
        const auto counted = [&](std::int64_t count) {
            const auto before = allocations();
            const double rate = ours(count);
            if (before) {
                // The two threads of the run are not the ring's.
                const double extra = static_cast<double>(*allocations() - *before);
                figure.allocs_per_op = extra <= 4 ? 0 : extra / static_cast<double>(count);
            }
            return rate;
        };
        _out.alternate(
            [&] {
                const double rate = counted(ours_length());
                ours_length.learn(rate);
                figure.ours(rate);
            },
            [&] {
                const double rate = peer(peer_length());
                peer_length.learn(rate);
                figure.peer(rate);
            });
    }

    template <typename Ours, typename Peer>
    void latency(const std::string& name, const std::string& peer_name, Ours&& ours, Peer&& peer) {
        if (!_out.wanted(name)) {
            return;
        }
        row& figure = _out.add(name, "ns", better::lower, peer_name);
        run_length length(_out.seconds(), 100'000);
        _out.alternate(
            [&] {
                const double trip = ours(length());
                length.learn(1e9 / trip);
                figure.ours(trip);
            },
            [&] { figure.peer(peer(length())); });
    }

    template <typename T>
    void beside_boost(const std::string& payload) {
        const std::string boost = "boost::lockfree::spsc_queue";
        // On the heap: Boost's queue holds its slots.
        const auto ours = std::make_unique<ours_side<T>>();
        const auto peer = std::make_unique<boost_side<T>>();
        for (const bool popping : {true, false}) {
            throughput(
                fmt::format("ring.one_to_one.{}_{}.rate", payload, popping ? "1_pop" : "1_drain"),
                boost, [&](std::int64_t count) { return ours->one_by_one(_where, count, popping); },
                [&](std::int64_t count) { return peer->one_by_one(_where, count, popping); });
        }
        throughput(
            "ring.one_to_one." + payload + "_64.rate", boost,
            [&](std::int64_t count) { return ours->batched(_where, count); },
            [&](std::int64_t count) { return peer->batched(_where, count); });
        const auto ours_back = std::make_unique<ours_side<T>>();
        const auto peer_back = std::make_unique<boost_side<T>>();
        latency(
            "ring.ping_pong." + payload + ".rtt", boost,
            [&](std::int64_t count) { return round_trip_ns(_where, count, *ours, *ours_back); },
            [&](std::int64_t count) { return round_trip_ns(_where, count, *peer, *peer_back); });
    }

    void beside_lmax() {
        const std::string disruptor = "LMAX Disruptor 4.0.0";
        ours_side<std::int64_t> ours;
        ours_side<std::int64_t> back;
        throughput(
            "ring.one_to_one.lmax_1.rate", disruptor,
            [&](std::int64_t count) { return ours.one_by_one(_where, count, true); },
            [&](std::int64_t count) { return _lmax->rate(1, count); });
        throughput(
            "ring.one_to_one.lmax_64.rate", disruptor,
            [&](std::int64_t count) { return ours.batched(_where, count); },
            [&](std::int64_t count) { return _lmax->rate(most_at_once, count); });
        latency(
            "ring.ping_pong.lmax.rtt", disruptor,
            [&](std::int64_t count) { return round_trip_ns(_where, count, ours, back); },
            [&](std::int64_t count) { return _lmax->round_trip_ns(count); });
    }

    report& _out;
    cpus _where;
    lmax_driver* _lmax;
};

int run(int argc, char** argv) {
    report out("ring", "One producer and one reader on two CPUs, beside Boost and LMAX");
    std::string lmax_folder;
    out.option("--lmax", lmax_folder, "where Maven put the LMAX driver");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    const std::vector<int> allowed = allowed_cpus();
    if (allowed.size() < 2) {
        fmt::print(stderr, "bench_ring: needs two CPUs\n");
        return 1;
    }
    const cpus where{allowed[0], allowed[1]};
    out.bracket(where.producer, where.consumer);
    std::unique_ptr<lmax_driver> lmax;
    if (lmax_built(lmax_folder)) {
        lmax = std::make_unique<lmax_driver>(lmax_folder, where.producer, where.consumer);
    } else {
        out.note("No LMAX driver: its rows are left out (scripts/bench ring builds it).");
    }
    ring_bench(out, where, lmax.get()).run();
    return out.finish();
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
    return weir::bench::run(argc, argv);
}
