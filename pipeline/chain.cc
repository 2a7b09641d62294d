// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <memory>
#include <utility>

#include <weir/pipeline/stage.hh>

namespace weir::pipeline {

namespace {

/// The elements between two kernels of a chain: as many as a batch, in memory that stays warm.
class scratch {
  public:
    explicit scratch(const element_type& type)
        : _columns(type, max_batch), _slots(type.columns.size()) {
        _columns.slots(0, _slots.data());
        for (const slot_lane& each : _slots) {
            _lanes.push_back({each.base, each.size, nullptr});
        }
    }
    const slot_lane* slots() const noexcept { return _slots.data(); }
    const lane* lanes() const noexcept { return _lanes.data(); }
    void destroy(std::size_t count) const noexcept {
        if (_columns.type().destroy != nullptr) {
            _columns.type().destroy(_slots.data(), count);
        }
    }

  private:
    columns _columns;
    std::vector<slot_lane> _slots;
    std::vector<lane> _lanes;
};

/// Kernels of which none gives more than it gets: a batch passes through all of them at once.
class chain_kernel final : public kernel {
  public:
    explicit chain_kernel(const std::vector<node_ptr>& nodes) {
        for (const node_ptr& each : nodes) {
            _kernels.push_back(each->make());
        }
        for (std::size_t i = 0; i + 1 < nodes.size(); ++i) {
            _between.emplace_back(*nodes[i]->out);
        }
    }

    kernel_step run(const lane* in, std::size_t n, const slot_lane* out,
                    std::size_t room) override {
        n = std::min({n, room, max_batch});
        kernel_step whole{n, 0, nullptr};
        const lane* from = in;
        std::size_t count = n;
        for (std::size_t i = 0; i < _kernels.size(); ++i) {
            const bool last = i + 1 == _kernels.size();
            kernel_step step =
                _kernels[i]->run(from, count, last ? out : _between[i].slots(), max_batch);
            if (i == 0) {
                whole.consumed = step.consumed;
            } else {
                _between[i - 1].destroy(count);
            }
            if (step.failure) {
                // The later the kernel, the earlier the element that it failed at.
                whole.failure = std::move(step.failure);
            }
            count = step.produced;
            if (!last) {
                from = _between[i].lanes();
            }
        }
        whole.produced = count;
        return whole;
    }

    // Only the last one may have kept anything.
    kernel_step finish(const slot_lane* out, std::size_t room) override {
        return _kernels.back()->finish(out, room);
    }

  private:
    std::vector<std::unique_ptr<kernel>> _kernels;
    std::vector<scratch> _between;
};

}  // namespace

std::unique_ptr<kernel> make_chain(const std::vector<node_ptr>& nodes) {
    return nodes.size() == 1 ? nodes.front()->make() : std::make_unique<chain_kernel>(nodes);
}

}  // namespace weir::pipeline
