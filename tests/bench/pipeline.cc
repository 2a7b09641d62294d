// SPDX-License-Identifier: Apache-2.0
// Pipelines deployed on rings, fused and unfused, beside LMAX, oneTBB, Go's channels and bare
// loops: the same work, capacity and CPUs, sums checked.
#include <array>
#include <bit>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <bench/harness.hh>
#include <bench/lmax_driver.hh>
#include <bench/pipeline_ours.hh>
#include <bench/pipeline_tbb.hh>
#include <bench/run_length.hh>
#include <fmt/format.h>

namespace weir::bench {
namespace {

using form = topology::form;
using policy = pipeline::placement::policy;

constexpr std::int64_t first_run = 1 << 18;  // until we know how fast a side is
constexpr std::int64_t copied_items = 5'000'000 / 64 * 64;
constexpr std::int64_t hops = 50'000;
constexpr std::int64_t pause_ns = 1000;
/// The driver of LMAX answers the same ones.
constexpr std::array percentiles{std::pair("p50", 50.0), std::pair("p90", 90.0),
                                 std::pair("p99", 99.0), std::pair("p999", 99.9),
                                 std::pair("most", 100.0)};

/// LMAX's own tests have these.
std::size_t capacity_of(const topology& what) {
    return what.kind == form::one_to_one ? 65'536 : 8192;
}

class pipeline_bench {
  public:
    pipeline_bench(report& out, std::vector<int> cpus, std::string lmax, const std::string& go)
        : _out(out), _cpus(std::move(cpus)), _pair{_cpus[0], _cpus[1]}, _lmax(std::move(lmax)) {
        if (!go.empty() && std::filesystem::exists(go)) {
            _go = std::make_unique<line_process>(std::vector{go}, _pair);
        }
    }

    void run() {
        notes();
        const std::pair<const char*, topology> all[] = {{"one_to_one", {form::one_to_one}},
                                                        {"multicast", {form::multicast, 3}},
                                                        {"three_steps", {form::pipeline}},
                                                        {"diamond", {form::diamond}}};
        for (const auto& [name, what] : all) {
            for (const std::size_t bytes : {8, 64}) {
                beside_peers(fmt::format("pipeline.{}.{}", name, bytes), what, bytes);
            }
        }
        beside_tbb_stages();
        copying();
        latency();
        scaling();
    }

  private:
    setting on(const std::vector<int>& cpus, policy how, std::size_t capacity) const {
        return {cpus, {.where = {.how = how}, .capacity = capacity}};
    }
    setting unfused(const topology& what) const {
        return on(_pair, policy::spread, capacity_of(what));
    }
    setting fused(const topology& what) const {
        return on({_pair[0]}, policy::pack, capacity_of(what));
    }

    void notes() {
        _out.note("unfused: a stage each, in turn on two shards; fused: all on one shard.");
        _out.note("oversubscribed: a peer that needs more threads than there are CPUs.");
        if (!lmax_built(_lmax)) {
            _out.note("No LMAX driver: its rows are left out (scripts/bench pipeline builds it).");
        }
        if (!tbb_built()) {
            _out.note("Built without oneTBB (libtbb-dev): its rows are left out.");
        }
        if (!_go) {
            _out.note("No Go driver: its rows are left out (scripts/bench builds it with go).");
        }
    }

    /// A row of elements per second.
    void rate(const std::string& name, const std::string& peer_name,
              const std::function<run_figures(std::int64_t)>& ours,
              const std::function<double(std::int64_t)>& peer, std::int64_t first = first_run,
              std::int64_t fixed = 0) {
        row& figure = _out.add(name, "per_s", better::higher, peer_name);
        run_length ours_length(_out.seconds(), first);
        run_length peer_length(_out.seconds(), first);
        _out.alternate(
            [&] {
                const run_figures found = ours(fixed != 0 ? fixed : ours_length());
                ours_length.learn(found.per_second);
                figure.ours(found.per_second);
                figure.allocs_per_op = found.allocations;
            },
            [&] {
                const double found = peer(peer_length());
                peer_length.learn(found);
                figure.peer(found);
            });
    }

    void beside_peers(const std::string& name, const topology& what, std::size_t bytes) {
        const auto ours = [&, bytes](std::int64_t count) {
            return run_ours(what, bytes, count, unfused(what));
        };
        beside_lmax(name + ".lmax", what, bytes, ours);
        if (tbb_built() && _out.wanted(name + ".tbb_pipeline")) {
            const auto peer = [&](std::int64_t count, tbb_way way) {
                return run_tbb_pipeline(what, bytes, count, way, _pair);
            };
            const tbb_way way = best_way(peer, capacity_of(what), first_run / 8);
            rate(name + ".tbb_pipeline", name_of(way), ours,
                 [&](std::int64_t count) { return peer(count, way); });
        }
        if (tbb_built() && _out.wanted(name + ".tbb_graph")) {
            rate(name + ".tbb_graph", "oneTBB flow graph", ours, [&](std::int64_t count) {
                return run_tbb_graph(what, bytes, count, capacity_of(what), _pair);
            });
        }
        if (_go && _out.wanted(name + ".go")) {
            rate(name + ".go", "Go channels", ours,
                 [&](std::int64_t count) { return go(what, bytes, count); });
        }
        if (_out.wanted(name + ".fused")) {
            rate(
                name + ".fused", "the same functions in a loop",
                [&](std::int64_t count) { return run_ours(what, bytes, count, fused(what)); },
                [&](std::int64_t count) { return run_loop(what, bytes, count, _pair[0]); });
        }
    }

    double go(const topology& what, std::size_t bytes, std::int64_t count) {
        return _go->ask(fmt::format("{} {} {} {}", what.name(), bytes, capacity_of(what), count));
    }

    // LMAX.

    std::string name_of_lmax(const std::string& wait, unsigned threads) const {
        return fmt::format("LMAX 4.0.0 {}{}", wait,
                           threads > _pair.size() ? ", oversubscribed" : "");
    }

    std::unique_ptr<line_process> start_lmax(const std::string& name, unsigned threads,
                                             std::size_t bytes, const std::string& wait,
                                             std::size_t capacity) {
        auto command = lmax_command(_lmax, "Topology");
        for (const std::string& each :
             {name, std::to_string(bytes), wait, std::to_string(capacity)}) {
            command.push_back(each);
        }
        auto driver = std::make_unique<line_process>(command);
        for (unsigned i = 0; i < threads; ++i) {
            driver->pin(fmt::format("stage-{}", i), _pair[i % _pair.size()]);
        }
        return driver;
    }

    struct lmax_choice {
        std::unique_ptr<line_process> driver{};
        std::string wait{};
        double rate = 0;
    };

    /// The wait strategy that is best for a topology, its driver warmed up.
    lmax_choice best_lmax(const topology& what, std::size_t bytes) {
        lmax_choice best;
        for (const char* const wait : {"BusySpin", "Yielding", "Sleeping", "Blocking"}) {
            lmax_choice tried{
                start_lmax(what.name(), what.stages(), bytes, wait, capacity_of(what)), wait};
            std::int64_t count = first_run;
            for (int round = 0; round < 8; ++round) {
                tried.rate = tried.driver->ask(fmt::format("rate {}", count));
                count = static_cast<std::int64_t>(tried.rate * 0.05) / 64 * 64 + 64;
            }
            if (tried.rate > best.rate) {
                best = std::move(tried);
            }
        }
        return best;
    }

    void beside_lmax(const std::string& name, const topology& what, std::size_t bytes,
                     const std::function<run_figures(std::int64_t)>& ours, std::int64_t fixed = 0) {
        if (!lmax_built(_lmax) || !_out.wanted(name)) {
            return;
        }
        const lmax_choice best = best_lmax(what, bytes);
        rate(
            name, name_of_lmax(best.wait, what.stages()), ours,
            [&](std::int64_t count) { return best.driver->ask(fmt::format("rate {}", count)); },
            first_run, fixed);
    }

    // oneTBB.

    static std::string name_of(tbb_way way) {
        return fmt::format("oneTBB parallel_pipeline, {} tokens{}", way.tokens,
                           way.parallel ? ", parallel" : ", serial");
    }
    tbb_way best_way(const std::function<double(std::int64_t, tbb_way)>& peer, std::size_t capacity,
                     std::int64_t count) const {
        tbb_way best{};
        double best_rate = 0;
        for (const std::size_t tokens : {std::size_t{16}, std::size_t{256}, capacity}) {
            for (const bool parallel : {false, true}) {
                const tbb_way way{tokens, parallel};
                peer(count, way);
                const double rate = peer(count, way);
                if (rate > best_rate) {
                    best = way;
                    best_rate = rate;
                }
            }
        }
        return best;
    }

    /// Three steps of work that can be done for several elements at a time.
    void beside_tbb_stages() {
        if (!tbb_built()) {
            return;
        }
        for (const int nanoseconds : {0, 10, 100, 1000, 10'000}) {
            const std::string name = fmt::format("pipeline.three_steps_of_{}ns", nanoseconds);
            if (!_out.wanted(name)) {
                continue;
            }
            const unsigned rounds = nanoseconds == 0 ? 0 : rounds_in(nanoseconds);
            const auto peer = [&](std::int64_t count, tbb_way way) {
                return run_tbb_stages(rounds, count, way, _pair);
            };
            const std::int64_t first = first_run / (1 + nanoseconds / 100) / 64 * 64;
            const tbb_way way = best_way(peer, 8192, first / 8);
            rate(
                name, name_of(way),
                [&](std::int64_t count) {
                    return run_stages(rounds, 2, count, on(_pair, policy::pack, 8192));
                },
                [&](std::int64_t count) { return peer(count, way); }, first);
        }
    }

    // What the first design of pipelines on rings was measured with.
    void copying() {
        for (const unsigned consumers : {5U, 10U}) {
            const topology what{form::copying, consumers};
            const std::string name = fmt::format("pipeline.copying_{}.64", consumers);
            const auto ours = [&](std::int64_t count) {
                return run_ours(what, 64, count, unfused(what));
            };
            beside_lmax(name + ".lmax", what, 64, ours, copied_items);
            if (_go && _out.wanted(name + ".go")) {
                rate(
                    name + ".go", "Go channels", ours,
                    [&](std::int64_t count) { return go(what, 64, count); }, first_run,
                    copied_items);
            }
        }
    }

    void latency() {
        for (const auto& [name, maps] : {std::pair("one", 0U), {"three", 2U}}) {
            const std::string rows = fmt::format("pipeline.hops.{}", name);
            if (!_out.wanted(rows)) {
                continue;
            }
            std::unique_ptr<line_process> lmax;
            if (maps == 0 && lmax_built(_lmax)) {
                lmax = start_lmax("hop", 2, 8, "BusySpin", 1024);
                for (int round = 0; round < 3; ++round) {
                    lmax->ask(fmt::format("hop {} {}", hops, pause_ns));
                }
            }
            const std::string peer = lmax ? "LMAX 4.0.0 BusySpin" : "";
            std::vector<row*> figures;
            for (const auto& [percentile, of] : percentiles) {
                figures.push_back(&_out.add(rows + "." + percentile, "ns", better::lower, peer));
            }
            _out.alternate(
                [&, maps = maps] {
                    const histogram found =
                        measure_hops(maps, hops, pause_ns, on(_pair, policy::spread, 1024));
                    for (std::size_t i = 0; i < figures.size(); ++i) {
                        const std::uint64_t value = found.percentile(percentiles[i].second);
                        figures[i]->ours(static_cast<double>(value));
                    }
                },
                [&] {
                    if (lmax) {
                        const auto found = lmax->ask_all(fmt::format("hop {} {}", hops, pause_ns));
                        for (std::size_t i = 0; i < figures.size(); ++i) {
                            figures[i]->peer(found.at(i));
                        }
                    }
                });
        }
        _out.note(
            fmt::format("hops: an element each {} ns, from before it is published until the "
                        "last stage sees it; three: two maps between.",
                        pause_ns));
    }

    void scaling() {
        std::vector<std::size_t> sizes{1, 2};
        if (_cpus.size() > 2) {
            sizes.push_back(std::bit_floor(_cpus.size()));
        }
        const unsigned rounds = rounds_in(1000);
        for (const std::size_t cores : sizes) {
            const std::string name = fmt::format("pipeline.sharded_1us.{}_cores", cores);
            if (!_out.wanted(name)) {
                continue;
            }
            const std::vector<int> cpus(_cpus.begin(),
                                        _cpus.begin() + static_cast<std::ptrdiff_t>(cores));
            rate(
                name, fmt::format("bare loop, {} threads", cores),
                [&](std::int64_t count) {
                    return run_sharded(rounds, static_cast<unsigned>(cores), count,
                                       on(cpus, policy::pack, 8192));
                },
                [&](std::int64_t count) { return run_threads(rounds, count, cpus); },
                first_run / 8);
        }
    }

    report& _out;
    const std::vector<int> _cpus;
    const std::vector<int> _pair;
    const std::string _lmax;
    std::unique_ptr<line_process> _go;
};

int run(int argc, char** argv) {
    report out("pipeline", "Pipelines on rings, beside LMAX, oneTBB, Go's channels and bare loops");
    std::string lmax;
    std::string go;
    out.option("--lmax", lmax, "where Maven put the LMAX driver");
    out.option("--go", go, "the Go driver");
    if (const auto status = out.parse(argc, argv)) {
        return *status;
    }
    const std::vector<int> cpus = allowed_cpus();
    if (cpus.size() < 2) {
        fmt::print(stderr, "bench_pipeline: needs two CPUs\n");
        return 1;
    }
    out.bracket(cpus[0], cpus[1]);
    pipeline_bench(out, cpus, lmax, go).run();
    return out.finish();
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
    return weir::bench::run(argc, argv);
}
