// SPDX-License-Identifier: Apache-2.0
#include <bench/pipeline_ours.hh>

#include <atomic>
#include <bit>
#include <cstdio>
#include <exception>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

#include <bench/harness.hh>

#include <weir/io/run.hh>
#include <weir/pipeline/pipeline.hh>

namespace weir::bench {

namespace {

using namespace weir::pipeline;

class quiet final : public log_sink {
    void write(const log_line&) noexcept override {}
};

/// What source and sink note while they run, each in its own lines.
struct marks {
    alignas(128) std::int64_t started_ns = 0;
    std::uint64_t allocations_then = 0;
    alignas(128) std::int64_t ended_ns = 0;
    std::uint64_t allocations_now = 0;
    std::int64_t sum = 0;

    void end(std::int64_t total) {
        sum = total;
        allocations_now = allocations().value_or(0);
        ended_ns = now_ns();
    }
};

/// Gives `count` elements, and notes the beginning.
template <typename T>
auto counting(std::int64_t count, marks* noted) {
    return [i = std::int64_t{0}, noting = std::int64_t{0}, count,
            noted]() mutable -> std::optional<T> {
        if (i == noting) [[unlikely]] {
            if (i == 0) {
                noted->started_ns = now_ns();
                noting = count / 8;
            } else if (i == count) {
                return std::nullopt;
            } else {
                noted->allocations_then = allocations().value_or(0);
                noting = count;
            }
        }
        return element<T>(i++);
    };
}
template <typename T>
auto numbers(std::int64_t count, marks* noted) {
    return generate(counting<T>(count, noted));
}

/// Adds up what `part(element)` gives, and notes the end.
template <typename Part>
auto adding(std::int64_t count, marks* noted, Part part) {
    return [sum = std::int64_t{0}, left = count, noted, part](const auto& each) mutable {
        sum += part(each);
        if (--left == 0) {
            noted->end(sum);
        }
    };
}
template <typename Part>
auto total(std::int64_t count, marks* noted, Part part) {
    return for_each(adding(count, noted, part));
}

template <typename T>
auto summing(std::int64_t number) {
    return reduce(std::int64_t{0},
                  [number](std::int64_t& sum, const T& each) { sum += value(each) ^ number; });
}
/// `K` consumers of the same elements.
template <typename T, unsigned K>
auto consumers() {
    if constexpr (K == 1) {
        return summing<T>(0);
    } else {
        return fanout(consumers<T, K - 1>(), summing<T>(K - 1));
    }
}
/// `K` maps that look at all of an element.
template <typename T, unsigned K>
auto touching() {
    const auto touch = map([](const T& each) { return value(each) ^ (K - 1); });
    if constexpr (K == 1) {
        return touch;
    } else {
        return fanout(touching<T, K - 1>(), touch);
    }
}

std::int64_t flat(std::int64_t one) {
    return one;
}
template <typename A, typename B>
std::int64_t flat(const std::pair<A, B>& two) {
    return flat(two.first) + flat(two.second);
}
constexpr auto flat_sum = [](const auto& each) { return flat(each); };

template <typename T>
program describe_topology(const topology& what, std::int64_t count, marks* noted) {
    const auto in = numbers<T>(count, noted);
    switch (what.kind) {
        case topology::form::one_to_one:
            return in >> id() >> total(count, noted, [](const T& each) { return value(each); });
        case topology::form::multicast:
            return in >> consumers<T, 3>() >> total(1, noted, flat_sum);
        case topology::form::pipeline:
            return in >> map([](const T& each) { return add(each); }) >>
                   map([](const T& each) { return multiply(each); }) >>
                   total(count, noted, [](const T& each) { return value(each); });
        case topology::form::diamond:
            return in >> fanout(map([](const T& each) { return fizz(each); }),
                                map([](const T& each) { return buzz(each); })) >>
                   total(count, noted, [](const std::pair<const bool&, const bool&>& each) {
                       return each.first && each.second ? 1 : 0;
                   });
        case topology::form::copying:
            return what.consumers == 5 ? in >> touching<T, 5>() >> total(count, noted, flat_sum)
                                       : in >> touching<T, 10>() >> total(count, noted, flat_sum);
    }
    __builtin_unreachable();
}

/// Runs a program on shards of its own.
void run_on(program what, const setting& where) {
    quiet log;
    io::run_options options;
    options.placement.shards = static_cast<unsigned>(where.cpus.size());
    options.placement.cpus.assign(where.cpus.begin(), where.cpus.end());
    options.placement.use_smt = true;
    options.host.log = &log;
    options.handle_signals = false;
    const int status =
        io::run(options, [&](host&) { return pipeline::run(std::move(what), where.deploy); });
    if (status != 0) {
        throw std::runtime_error("the benchmark's host failed");
    }
}

run_figures figures(const marks& noted, std::int64_t count, std::int64_t expected) {
    if (noted.sum != expected) {
        std::fprintf(stderr, "bench_pipeline: wrong sum %lld\n", static_cast<long long>(noted.sum));
        std::terminate();
    }
    const std::int64_t counted = count - count / 8;
    return {.per_second = static_cast<double>(count) * 1e9 /
                          static_cast<double>(noted.ended_ns - noted.started_ns),
            .allocations = static_cast<double>(noted.allocations_now - noted.allocations_then) /
                           static_cast<double>(counted)};
}

std::int64_t sum_of(const topology& what, std::int64_t count) {
    return what.expected(count) * static_cast<std::int64_t>(what.consumers);
}

/// The same functions as in describe_topology(), called one after the other.
template <typename T>
void loop(const topology& what, std::int64_t count, marks* noted) {
    auto next = counting<T>(count, noted);
    const auto give_all = [&next](auto take) {
        while (const std::optional<T> each = next()) {
            take(*each);
        }
    };
    switch (what.kind) {
        case topology::form::one_to_one:
            give_all(adding(count, noted, [](const T& each) { return value(each); }));
            break;
        case topology::form::pipeline:
            give_all(
                adding(count, noted, [](const T& each) { return value(multiply(add(each))); }));
            break;
        case topology::form::diamond:
            give_all(adding(count, noted,
                            [](const T& each) { return fizz(each) && buzz(each) ? 1 : 0; }));
            break;
        case topology::form::multicast:
        case topology::form::copying:
            give_all(adding(count, noted, [consumers = what.consumers](const T& each) {
                std::int64_t sum = 0;
                for (unsigned k = 0; k < consumers; ++k) {
                    sum += value(each) ^ k;
                }
                return sum;
            }));
            break;
    }
}

constexpr topology plain{topology::form::one_to_one};

auto working(unsigned rounds) {
    return map([rounds](const narrow& n) { return work(n, rounds); });
}
constexpr auto itself = [](const narrow& n) { return n; };

template <unsigned Copies>
program describe_sharded(unsigned rounds, std::int64_t count, marks* noted) {
    return numbers<narrow>(count, noted) >> pipeline::shard<Copies>(working(rounds)) >>
           total(count, noted, itself);
}

template <unsigned Copies>
program describe_stages(unsigned rounds, std::int64_t count, marks* noted) {
    return numbers<narrow>(count, noted) >>
           pipeline::shard<Copies>(working(rounds) >> working(rounds) >> working(rounds)) >>
           total(count, noted, itself);
}

/// The number of copies is part of the program's type.
template <typename Make>
program of_copies(unsigned copies, Make make) {
    switch (std::bit_floor(copies)) {
        case 1:
            return make.template operator()<1>();
        case 2:
            return make.template operator()<2>();
        case 4:
            return make.template operator()<4>();
        case 8:
            return make.template operator()<8>();
        case 16:
            return make.template operator()<16>();
        default:
            return make.template operator()<32>();
    }
}

/// Gives the time, once each pause.
class paced final : public source {
  public:
    paced(std::int64_t count, std::int64_t pause_ns) : _left(count), _pause_ns(pause_ns) {}

    void fill(const slot_lane* out, std::size_t, source_step& done) override {
        if (_left == 0) {
            done.ended = true;
            return;
        }
        std::int64_t now = now_ns();
        if (now < _due) {
            return;
        }
        _due = now + _pause_ns;
        --_left;
        shape<std::int64_t>::store(out, 0, std::move(now));
        done.produced = 1;
    }

  private:
    std::int64_t _left;
    const std::int64_t _pause_ns;
    std::int64_t _due = 0;
};

}  // namespace

run_figures run_ours(const topology& what, std::size_t bytes, std::int64_t count,
                     const setting& where) {
    marks noted;
    run_on(bytes == sizeof(narrow) ? describe_topology<narrow>(what, count, &noted)
                                   : describe_topology<wide>(what, count, &noted),
           where);
    return figures(noted, count, sum_of(what, count));
}

double run_loop(const topology& what, std::size_t bytes, std::int64_t count, int cpu) {
    marks noted;
    std::thread([&] {
        pin_to_cpu(cpu);
        bytes == sizeof(narrow) ? loop<narrow>(what, count, &noted)
                                : loop<wide>(what, count, &noted);
    }).join();
    return figures(noted, count, sum_of(what, count)).per_second;
}

run_figures run_stages(unsigned rounds, unsigned copies, std::int64_t count, const setting& where) {
    marks noted;
    run_on(
        of_copies(copies, [&]<unsigned N>() { return describe_stages<N>(rounds, count, &noted); }),
        where);
    return figures(noted, count, plain.expected(count));
}

run_figures run_sharded(unsigned rounds, unsigned copies, std::int64_t count,
                        const setting& where) {
    marks noted;
    run_on(
        of_copies(copies, [&]<unsigned N>() { return describe_sharded<N>(rounds, count, &noted); }),
        where);
    return figures(noted, count, plain.expected(count));
}

double run_threads(unsigned rounds, std::int64_t count, const std::vector<int>& cpus) {
    std::atomic<std::size_t> ready = 0;
    std::atomic<std::int64_t> sum = 0;
    std::atomic<std::int64_t> started = 0;
    std::vector<std::thread> threads;
    for (std::size_t k = 0; k < cpus.size(); ++k) {
        threads.emplace_back([&, k] {
            pin_to_cpu(cpus[k]);
            ready.fetch_add(1);
            while (ready.load() != cpus.size()) {
            }
            if (k == 0) {
                started.store(now_ns());
            }
            std::int64_t own = 0;
            const auto step = static_cast<std::int64_t>(cpus.size());
            for (auto i = static_cast<std::int64_t>(k); i < count; i += step) {
                own += work(i, rounds);
            }
            sum.fetch_add(own);
        });
    }
    for (std::thread& each : threads) {
        each.join();
    }
    if (sum.load() != plain.expected(count)) {
        std::terminate();
    }
    return static_cast<double>(count) * 1e9 / static_cast<double>(now_ns() - started.load());
}

unsigned rounds_in(double nanoseconds) {
    constexpr unsigned rounds = 1'000'000;
    double best = 1e9;
    for (int i = 0; i < 5; ++i) {
        const std::int64_t started = now_ns();
        work(1, rounds);
        best = std::min(best, static_cast<double>(now_ns() - started) / rounds);
    }
    return std::max(1U, static_cast<unsigned>(nanoseconds / best));
}

histogram measure_hops(unsigned maps, std::int64_t count, std::int64_t pause_ns,
                       const setting& where) {
    histogram found;
    const source_of<std::int64_t> clock{"clock",
                                        [=] { return std::make_unique<paced>(count, pause_ns); }};
    const auto record = for_each([&found, seen = 0](const std::int64_t& sent) mutable {
        if (++seen > 1000) {  // the first ones find cold lines
            found.record(static_cast<std::uint64_t>(now_ns() - sent));
        }
    });
    const auto on = map([](const std::int64_t& sent) { return sent; });
    run_on(maps == 0 ? clock >> id() >> record : clock >> on >> on >> record, where);
    return found;
}

}  // namespace weir::bench
