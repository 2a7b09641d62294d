// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/replay.hh>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>

namespace weir::io::sim {

namespace {

// Another fill and layout of all memory, which no run may notice.
class perturbation {
  public:
    explicit perturbation(bool on) {
        if (on) {
            memory::perturb(0xa7, 0x51ed2701);
            for (std::size_t i = 0; i < 200; ++i) {
                _holes.push_back(std::make_unique<char[]>(16 + i * 37 % 600));
            }
            for (std::size_t i = 0; i < _holes.size(); i += 3) {
                _holes[i].reset();
            }
        }
    }
    ~perturbation() { memory::perturb(0, 0); }

  private:
    std::vector<std::unique_ptr<char[]>> _holes;
};

trace run_traced(std::uint64_t seed, const world_options& options, const scenario& test,
                 bool perturbed, std::uint64_t record_first = 0, std::uint64_t record_last = 0) {
    const perturbation other(perturbed);
    world made(seed, options);
    made.log().record(record_first, record_last);
    test(made);
    return made.log();
}

std::optional<std::uint64_t> from_environment(const char* name) {
    const char* text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing sets it
    return text == nullptr ? std::nullopt : std::optional(std::strtoull(text, nullptr, 10));
}

}  // namespace

std::uint64_t run_once(std::uint64_t seed, const world_options& options, const scenario& test,
                       std::string* report) {
    world made(seed, options);
    test(made);
    if (report != nullptr) {
        *report = made.report();
    }
    return made.hash();
}

std::string compare_runs(std::uint64_t seed, const world_options& options, const scenario& test) {
    const trace first = run_traced(seed, options, test, false);
    const trace second = run_traced(seed, options, test, true);
    if (first.hash() == second.hash() && first.events() == second.events()) {
        return {};
    }
    const auto& a = first.checkpoints();
    const auto& b = second.checkpoints();
    const std::size_t common = std::min(a.size(), b.size());
    const auto parted =
        std::mismatch(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(common), b.begin());
    const auto from =
        static_cast<std::uint64_t>(parted.first - a.begin()) * trace::events_per_checkpoint;
    const std::uint64_t to = from + trace::events_per_checkpoint;
    const trace left = run_traced(seed, options, test, false, from, to);
    const trace right = run_traced(seed, options, test, true, from, to);
    std::size_t i = 0;
    while (i < left.records().size() && i < right.records().size() &&
           left.records()[i] == right.records()[i]) {
        ++i;
    }
    const auto show = [&](const trace& run) {
        return i < run.records().size() ? to_string(run.records()[i]) : std::string("the end");
    };
    return fmt::format("seed {}: two runs part at event {}\n  first:  {}\n  second: {}\n", seed,
                       from + i, show(left), show(right));
}

std::string exploration::report() const {
    const double seconds_simulated = std::chrono::duration<double>(simulated).count();
    return fmt::format("{} seeds, {:.1f} simulated seconds, {} events, {} faults\n{}", seeds,
                       seconds_simulated, events, faults.injected(), faults.report());
}

exploration explore(std::uint64_t first, std::uint64_t count, const options_of_seed& options,
                    const scenario& test, bool twice) {
    first = from_environment("WEIR_SIM_FIRST").value_or(first);
    count = from_environment("WEIR_SIM_SEEDS").value_or(count);
    if (const auto chosen = from_environment("WEIR_SIM_SEED")) {
        first = *chosen;
        count = 1;
    }
    exploration result;
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        const world_options chosen = options(seed);
        world made(seed, chosen);
        try {
            test(made);
            ++result.seeds;
            result.events += made.log().events();
            result.simulated += made.now().time_since_epoch();
            result.faults.add(made.faults());
            if (twice) {
                if (const std::string parted = compare_runs(seed, chosen, test); !parted.empty()) {
                    throw std::runtime_error(parted);
                }
            }
        } catch (...) {
            std::fprintf(stderr, "%s%s  again: WEIR_SIM_SEED=%llu and the same test\n",
                         made.logs().c_str(), made.report().c_str(),
                         static_cast<unsigned long long>(seed));
            throw;
        }
    }
    return result;
}

}  // namespace weir::io::sim
