// SPDX-License-Identifier: Apache-2.0
#include <weir/io/submit.hh>

#include <new>
#include <string>
#include <variant>

#include <weir/core/assert.hh>
#include <weir/core/coroutine.hh>
#include <weir/io/budget.hh>

namespace weir::io {

namespace {

bool is_data(const any_op& what) noexcept {
    return std::holds_alternative<op::read>(what) || std::holds_alternative<op::write>(what);
}

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

class cancellable_one_shot final : public operation,
                                   public detail::pooled,
                                   private abort_subscription {
  public:
    cancellable_one_shot(any_op what, abort_source& source) : operation(what) {
        const bool subscribed = source.subscribe(*this);
        WEIR_ASSERT(subscribed);
    }
    future<std::int32_t> result() noexcept { return _promise.get_future(); }
    void complete(const completion& outcome) noexcept override {
        if (_reason && outcome.result == -ECANCELED) {
            _promise.set_failure(std::move(_reason));
        } else {
            _promise.set_value(outcome.result);
        }
        delete this;
    }

  private:
    void on_abort(const std::exception_ptr& reason) noexcept override {
        _reason = reason;
        this_backend().cancel(*this);
    }

    promise<std::int32_t> _promise;
    std::exception_ptr _reason;
};

class data_one_shot : public data_operation, public detail::pooled {
  public:
    using data_operation::data_operation;
    virtual ~data_one_shot() = default;
    future<std::int32_t> result() noexcept { return _promise.get_future(); }
    void complete(const completion& outcome) noexcept override {
        this_backend().budget().finished(*this);
        _promise.set_value(outcome.result);
        delete this;
    }

  protected:
    promise<std::int32_t> _promise;
};

class abortable_one_shot final : public data_one_shot, private abort_subscription {
  public:
    abortable_one_shot(any_op what, abort_source& source) : data_one_shot(what) {
        const bool subscribed = source.subscribe(*this);
        WEIR_ASSERT(subscribed);
    }

  private:
    void on_abort(const std::exception_ptr& reason) noexcept override {
        if (this_backend().budget().withdraw(*this)) {
            _promise.set_failure(reason);
            delete this;
        }
    }
};

template <typename Operation>
future<std::int32_t> start(Operation& started) {
    future<std::int32_t> result = started.result();
    this_backend().start(started);
    return result;
}

future<std::int32_t> start_data(data_one_shot& started) {
    future<std::int32_t> result = started.result();
    this_backend().budget().start(started);
    return result;
}

}  // namespace

// Every operation of weir but those of connections and listeners begins here, and every read and
// write of a file passes the budget.
future<std::int32_t> submit(any_op what, abort_source* give_up) {
    if (give_up != nullptr && give_up->requested()) {
        return make_failed_future<std::int32_t>(give_up->reason());
    }
    if (is_data(what)) {
        return start_data(give_up != nullptr ? *new abortable_one_shot(what, *give_up)
                                             : *new data_one_shot(what));
    }
    if (give_up != nullptr) {
        return start(*new cancellable_one_shot(what, *give_up));
    }
    return start(*new one_shot(what));
}

void discard(int fd) noexcept {
    try {
        submit(op::close{fd}).ignore();
    } catch (const std::bad_alloc&) {
        this_backend().close_now(fd);
    }
}

future<std::int32_t> submit_or_fail(any_op what, std::string_view operation,
                                    std::string_view subject) {
    // Everything that needs memory comes before the operation begins: what it points to may go once
    // this fails.
    const std::string doing(operation);
    const std::string what_to(subject);
    const std::int32_t result = co_await submit(what);
    if (result < 0) {
        throw error::from_errno(doing, what_to, -result);
    }
    co_return result;
}

}  // namespace weir::io
