// SPDX-License-Identifier: Apache-2.0
#include <weir/io/submit.hh>

#include <string>

namespace weir::io {

namespace {

class one_shot final : public operation, public detail::pooled {
  public:
    using operation::operation;
    future<std::int32_t> result() noexcept { return _promise.get_future(); }
    void complete(const completion& outcome) noexcept override {
        _promise.set_value(outcome.result);
        delete this;
    }

  private:
    promise<std::int32_t> _promise;
};

}  // namespace

future<std::int32_t> submit(any_op what) {
    auto* started = new one_shot(what);
    future<std::int32_t> result = started->result();
    this_backend().start(*started);
    return result;
}

future<std::int32_t> submit_or_fail(any_op what, std::string_view operation,
                                    std::string_view subject) {
    return submit(what).then(
        [operation = std::string(operation), subject = std::string(subject)](std::int32_t result) {
            if (result < 0) {
                throw error::from_errno(operation, subject, -result);
            }
            return result;
        });
}

}  // namespace weir::io
