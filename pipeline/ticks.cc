// SPDX-License-Identifier: Apache-2.0
#include <weir/pipeline/ticks.hh>

#include <weir/core/assert.hh>
#include <weir/core/shard.hh>
#include <weir/core/sleep.hh>

namespace weir::pipeline {

namespace {

class tick_source final : public source {
  public:
    tick_source(duration period, tick_options options)
        : _period(period), _options(options), _index(options.first) {}

    void fill(const slot_lane* out, std::size_t, source_step& done) override {
        const instant now = this_shard().now();
        if (!_begun) {
            _begun = true;
            _due = now + _period;
        }
        if (_index >= _options.end) {
            done.ended = true;
            return;
        }
        if (now < _due) {
            return;
        }
        shape<tick>::store(out, 0, {_index, _due});
        const auto passed = static_cast<std::uint64_t>((now - _due) / _period) + 1;
        _index += passed;
        _due += _period * static_cast<duration::rep>(passed);
        done = {1, _index >= _options.end};
    }
    future<> wait() override {
        return sleep_until(_due, _stop).then_wrapped([](future<> ended) {
            std::move(ended).ignore();
        });
    }
    void stop() noexcept override { _stop.request(); }

  private:
    const duration _period;
    const tick_options _options;
    std::uint64_t _index;
    instant _due{};
    bool _begun = false;
    abort_source _stop;
};

}  // namespace

source_of<tick> ticks(duration period, tick_options options) {
    WEIR_ASSERT(period > duration::zero());
    return {"ticks", [period, options] { return std::make_unique<tick_source>(period, options); }};
}

}  // namespace weir::pipeline
