// SPDX-License-Identifier: Apache-2.0
#include <bench/pipeline_tbb.hh>

#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <tuple>

#include <bench/harness.hh>
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_scheduler_observer.h>

namespace weir::bench {

namespace {

namespace flow = oneapi::tbb::flow;
using oneapi::tbb::filter;
using oneapi::tbb::filter_mode;
using oneapi::tbb::make_filter;

/// Binds each thread that joins an arena to a CPU.
class pinning final : public oneapi::tbb::task_scheduler_observer {
  public:
    pinning(oneapi::tbb::task_arena& arena, const std::vector<int>& cpus)
        : task_scheduler_observer(arena), _cpus(cpus) {
        observe(true);
    }
    ~pinning() override { observe(false); }
    void on_scheduler_entry(bool) override {
        const int slot = oneapi::tbb::this_task_arena::current_thread_index();
        pin_to_cpu(_cpus[static_cast<std::size_t>(slot) % _cpus.size()]);
    }

  private:
    const std::vector<int>& _cpus;
};

/// Runs `work` in an arena with a thread on each CPU, and says how many elements a second.
template <typename Work>
double timed(std::int64_t count, const std::vector<int>& cpus, Work&& work) {
    double rate = 0;
    // A thread of its own: the pinning must not stay.
    std::thread([&] {
        pin_to_cpu(cpus[0]);
        const oneapi::tbb::global_control threads(
            oneapi::tbb::global_control::max_allowed_parallelism, cpus.size());
        oneapi::tbb::task_arena arena(static_cast<int>(cpus.size()));
        const pinning pinned(arena, cpus);
        arena.execute([&] {
            const std::int64_t started = now_ns();
            work();
            rate = static_cast<double>(count) * 1e9 / static_cast<double>(now_ns() - started);
        });
    }).join();
    return rate;
}

void check(std::int64_t sum, std::int64_t expected) {
    if (sum != expected) {
        std::terminate();
    }
}

/// An element on its way through filters. They are passed by pointer into an array of as many as
/// there are tokens, since oneTBB allocates for what is greater than a pointer.
template <typename T>
struct token {
    T element;
    bool fizz = false;
    bool buzz = false;
};

template <typename T>
filter<token<T>*, token<T>*> sum_filter(std::int64_t& sum, std::int64_t number) {
    return make_filter<token<T>*, token<T>*>(filter_mode::serial_in_order,
                                             [&sum, number](token<T>* each) {
                                                 sum += value(each->element) ^ number;
                                                 return each;
                                             });
}

template <typename T, typename Function>
filter<token<T>*, token<T>*> map_filter(filter_mode mode, Function function) {
    return make_filter<token<T>*, token<T>*>(mode, [function](token<T>* each) {
        function(*each);
        return each;
    });
}

template <typename T>
double pipeline_of(const topology& what, std::int64_t count, tbb_way way,
                   const std::vector<int>& cpus) {
    const filter_mode mode = way.parallel ? filter_mode::parallel : filter_mode::serial_in_order;
    std::vector<token<T>> tokens(way.tokens);
    std::vector<std::int64_t> sums(what.consumers + 1);
    std::int64_t next = 0;
    auto chain = make_filter<void, token<T>*>(
        filter_mode::serial_in_order, [&](oneapi::tbb::flow_control& control) -> token<T>* {
            if (next == count) {
                control.stop();
                return nullptr;
            }
            token<T>& each = tokens[static_cast<std::size_t>(next) % tokens.size()];
            each.element = element<T>(next++);
            return &each;
        });
    if (what.kind == topology::form::pipeline) {
        chain = chain & map_filter<T>(mode, [](token<T>& of) { of.element = add(of.element); }) &
                map_filter<T>(mode, [](token<T>& of) { of.element = multiply(of.element); });
    } else if (what.kind == topology::form::diamond) {
        chain = chain & map_filter<T>(mode, [](token<T>& of) { of.fizz = fizz(of.element); }) &
                map_filter<T>(mode, [](token<T>& of) { of.buzz = buzz(of.element); });
    } else {
        for (unsigned k = 0; k + 1 < what.consumers; ++k) {
            chain = chain & sum_filter<T>(sums[k], k);
        }
    }
    const bool counts = what.kind == topology::form::diamond;
    const std::int64_t number = what.consumers - 1;
    const auto whole =
        chain &
        make_filter<token<T>*, void>(filter_mode::serial_in_order, [&](const token<T>* each) {
            sums.back() += counts ? each->fizz && each->buzz : value(each->element) ^ number;
        });
    const double rate =
        timed(count, cpus, [&] { oneapi::tbb::parallel_pipeline(way.tokens, whole); });
    std::int64_t sum = 0;
    for (const std::int64_t each : sums) {
        sum += each;
    }
    check(sum, what.expected(count) * static_cast<std::int64_t>(what.consumers));
    return rate;
}

using node_of_done = flow::continue_msg;

/// What one node adds up, apart from what others do.
struct alignas(128) sum_line {
    std::int64_t value = 0;
};

template <typename T>
using consumer = flow::function_node<T, node_of_done>;

/// What one side of a diamond says of an element. A limiter may let two of them pass at once, to
/// each side in another order, so both halves bear the number by which they are joined.
struct half {
    std::int64_t number;
    bool yes;
};

/// Two nodes that look at the same elements, and one that counts where both say yes.
template <typename T>
class diamond {
  public:
    diamond(flow::graph& graph, std::int64_t& sum)
        : _fizzing(graph, flow::serial,
                   [](const T& each) { return half{number_of(each), fizz(each)}; }),
          _buzzing(graph, flow::serial,
                   [](const T& each) { return half{number_of(each), buzz(each)}; }),
          _joined(graph, number, number),
          _counting(graph, flow::serial, [&sum](const halves& each) {
              sum += std::get<0>(each).yes && std::get<1>(each).yes;
              return node_of_done();
          }) {
        flow::make_edge(_fizzing, flow::input_port<0>(_joined));
        flow::make_edge(_buzzing, flow::input_port<1>(_joined));
        flow::make_edge(_joined, _counting);
    }
    template <typename From, typename To>
    void connect(From& from, To& to) {
        flow::make_edge(from, _fizzing);
        flow::make_edge(from, _buzzing);
        flow::make_edge(_counting, to);
    }

  private:
    using halves = std::tuple<half, half>;
    static constexpr auto number = [](const half& each) { return each.number; };

    flow::function_node<T, half> _fizzing;
    flow::function_node<T, half> _buzzing;
    flow::join_node<halves, flow::key_matching<std::int64_t>> _joined;
    flow::function_node<halves, node_of_done> _counting;
};

template <typename T>
double graph_of(const topology& what, std::int64_t count, std::size_t capacity,
                const std::vector<int>& cpus) {
    std::vector<sum_line> sums(what.consumers);
    const double rate = timed(count, cpus, [&] {
        flow::graph graph;
        std::int64_t next = 0;
        flow::input_node<T> from(graph, [&](oneapi::tbb::flow_control& control) -> T {
            if (next == count) {
                control.stop();
                return T{};
            }
            return element<T>(next++);
        });
        flow::limiter_node<T> limit(graph, capacity);
        flow::make_edge(from, limit);
        // Their nodes, whatever the topology needs of them.
        std::vector<std::unique_ptr<consumer<T>>> last;
        const auto sum_up = [&](unsigned k) {
            last.push_back(
                std::make_unique<consumer<T>>(graph, flow::serial, [&sums, k](const T& each) {
                    sums[k].value += value(each) ^ k;
                    return node_of_done();
                }));
        };
        using step = flow::function_node<T, T>;
        std::optional<step> adding, multiplying;
        std::optional<diamond<T>> halves;
        // Of several consumers of an element the last one that has it gives its place back.
        flow::continue_node<node_of_done> freed(graph, static_cast<int>(0),
                                                [](node_of_done done) { return done; });
        if (what.kind == topology::form::pipeline) {
            adding.emplace(graph, flow::serial, [](const T& each) { return add(each); });
            multiplying.emplace(graph, flow::serial, [](const T& each) { return multiply(each); });
            sum_up(0);
            flow::make_edge(limit, *adding);
            flow::make_edge(*adding, *multiplying);
            flow::make_edge(*multiplying, *last[0]);
        } else if (what.kind == topology::form::diamond) {
            halves.emplace(graph, sums[0].value);
            halves->connect(limit, freed);
        } else {
            for (unsigned k = 0; k < what.consumers; ++k) {
                sum_up(k);
                flow::make_edge(limit, *last[k]);
            }
        }
        for (const auto& each : last) {
            flow::make_edge(*each, freed);
        }
        flow::make_edge(freed, limit.decrementer());
        from.activate();
        graph.wait_for_all();
    });
    std::int64_t sum = 0;
    for (const sum_line& each : sums) {
        sum += each.value;
    }
    check(sum, what.expected(count) * static_cast<std::int64_t>(what.consumers));
    return rate;
}

}  // namespace

bool tbb_built() noexcept {
    return true;
}

double run_tbb_pipeline(const topology& what, std::size_t bytes, std::int64_t count, tbb_way way,
                        const std::vector<int>& cpus) {
    return bytes == sizeof(narrow) ? pipeline_of<narrow>(what, count, way, cpus)
                                   : pipeline_of<wide>(what, count, way, cpus);
}

double run_tbb_graph(const topology& what, std::size_t bytes, std::int64_t count,
                     std::size_t capacity, const std::vector<int>& cpus) {
    return bytes == sizeof(narrow) ? graph_of<narrow>(what, count, capacity, cpus)
                                   : graph_of<wide>(what, count, capacity, cpus);
}

double run_tbb_stages(unsigned rounds, std::int64_t count, tbb_way way,
                      const std::vector<int>& cpus) {
    const filter_mode mode = way.parallel ? filter_mode::parallel : filter_mode::serial_in_order;
    std::int64_t next = 0;
    std::int64_t sum = 0;
    const auto working = make_filter<narrow, narrow>(
        mode, [rounds](const narrow& each) { return work(each, rounds); });
    const auto whole = make_filter<void, narrow>(filter_mode::serial_in_order,
                                                 [&](oneapi::tbb::flow_control& control) -> narrow {
                                                     if (next == count) {
                                                         control.stop();
                                                         return 0;
                                                     }
                                                     return next++;
                                                 }) &
                       working & working & working &
                       make_filter<narrow, void>(filter_mode::serial_in_order,
                                                 [&](const narrow& each) { sum += each; });
    const double rate =
        timed(count, cpus, [&] { oneapi::tbb::parallel_pipeline(way.tokens, whole); });
    check(sum, topology{topology::form::one_to_one}.expected(count));
    return rate;
}

}  // namespace weir::bench
