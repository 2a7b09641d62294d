// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/stage_series.hh>

#include <algorithm>
#include <functional>
#include <utility>

#include <weir/core/shard.hh>

namespace weir::pipeline {

namespace {

/// The part of the time in which a stage worked, since this was asked for the last time.
class load_since {
  public:
    explicit load_since(stage& of) : _of(of), _asked(this_shard().now()) {}

    double operator()() {
        const stage_counters& now = _of.counters();
        const instant asked = this_shard().now();
        const double elements = static_cast<double>(now.elements - _elements);
        const double each = now.sampled_elements == 0
                                ? 0
                                : static_cast<double>(now.service.count()) /
                                      static_cast<double>(now.sampled_elements);
        const double time = static_cast<double>((asked - _asked).count());
        _elements = now.elements;
        _asked = asked;
        _of.time_runs();
        return time > 0 ? std::min(elements * each / time, 1.0) : 0;
    }

  private:
    stage& _of;
    instant _asked;
    std::uint64_t _elements = 0;
};

}  // namespace

stage_series::stage_series(const std::string& deployment, stage& of) {
    weir::metrics& all = this_shard().metrics();
    const auto describe = [&](const char* name, const char* help) {
        return metric_description{
            .name = std::string("weir_pipeline_") + name,
            .help = help,
            .labels = {{"deployment", deployment}, {"stage", of.planned().name}}};
    };
    const auto count = [&](const char* name, const char* help, const std::uint64_t& field) {
        _kept.push_back(all.counter(describe(name, help), &field));
    };
    const auto show = [&](const char* name, const char* help, std::function<double()> read) {
        _kept.push_back(all.gauge(describe(name, help), std::move(read)));
    };
    const stage_counters& counted = of.counters();
    try {
        count("elements_total", "Elements that a stage took, or made.", counted.elements);
        count("batches_total", "Batches that a stage handled.", counted.batches);
        count("starved_total", "Looks of a stage that found nothing to take.", counted.starved);
        count("blocked_total", "Looks of a stage that found no room to give.", counted.blocked);
        count("failures_total", "Failures that began in a stage.", counted.failures);
        count("disowned_total", "Futures that an abort did not wait for.", counted.disowned);
        show("service_seconds", "Time that a stage needs for an element, as sampled.", [&counted] {
            return counted.sampled_elements == 0
                       ? 0
                       : static_cast<double>(counted.service.count()) * 1e-9 /
                             static_cast<double>(counted.sampled_elements);
        });
        show("load", "Part of the time in which a stage worked, between two looks.",
             load_since(of));
        if (output* const ring = of.ring(); ring != nullptr) {
            show("queue", "Elements in the ring of a stage that some reader has yet to release.",
                 [ring] {
                     ring->reclaim();
                     return static_cast<double>(ring->queued());
                 });
            show("capacity", "Elements that the ring of a stage can hold.",
                 [ring] { return static_cast<double>(ring->capacity()); });
        }
    } catch (const error&) {
        _kept.clear();  // another deployment has this name, or the shard has too many series
    }
}

}  // namespace weir::pipeline
