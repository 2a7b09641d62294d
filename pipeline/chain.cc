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
    explicit chain_kernel(const std::vector<node_ptr>& nodes)
        : _columns{nodes.front()->in->columns.size()} {
        for (const node_ptr& each : nodes) {
            _kernels.push_back(each->make());
            _columns.push_back(each->out->columns.size());
        }
        _from.resize(std::ranges::max(_columns));
        _to.resize(_from.size());
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
            const slot_lane* const to = last ? out : _between[i].slots();
            kernel_step step;
            if (i == 0) {
                step = _kernels[i]->run(from, count, to, max_batch);
                whole.consumed = step.consumed;
            } else {
                step = run_all(i, count, to);
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
    // A kernel that takes long may stop early. For the first one the rest stays in its ring; what
    // lies between two has no place to stay, so it goes through whatever that takes.
    kernel_step run_all(std::size_t i, std::size_t count, const slot_lane* to) {
        const lane* const from = _between[i - 1].lanes();
        kernel_step all = _kernels[i]->run(from, count, to, max_batch);
        while (all.consumed < count && !all.failure) [[unlikely]] {
            for (std::size_t column = 0; column < _columns[i]; ++column) {
                _from[column] = {from[column].at(all.consumed), from[column].stride, nullptr};
            }
            for (std::size_t column = 0; column < _columns[i + 1]; ++column) {
                _to[column] = {to[column].at(all.produced), to[column].size};
            }
            kernel_step more = _kernels[i]->run(_from.data(), count - all.consumed, _to.data(),
                                                max_batch - all.produced);
            all.consumed += more.consumed;
            all.produced += more.produced;
            all.failure = std::move(more.failure);
        }
        return all;
    }

    std::vector<std::unique_ptr<kernel>> _kernels;
    std::vector<std::size_t> _columns;  // of what each kernel gets, then of what the last one gives
    std::vector<lane> _from;            // the rest of a batch, and where its results go
    std::vector<slot_lane> _to;
    std::vector<scratch> _between;
};

}  // namespace

std::unique_ptr<kernel> make_chain(const std::vector<node_ptr>& nodes) {
    return nodes.size() == 1 ? nodes.front()->make() : std::make_unique<chain_kernel>(nodes);
}

}  // namespace weir::pipeline
