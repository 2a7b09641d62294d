// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <weir/core/poller.hh>
#include <weir/io/op.hh>

namespace weir::io {

/// Received bytes, on loan from the backend: give them back with backend::release.
struct lent_buffer {
    std::byte* data = nullptr;
    std::uint32_t length = 0;
    std::uint32_t id = 0;
};

/// What an operation came to.
struct completion {
    std::int32_t result = 0;  ///< as the system call: a count or descriptor, else -errno
    bool more = false;        ///< multishot: this operation will complete again
    lent_buffer buffer;       ///< op::receive only, if result > 0
};

/// An operation under way. Its owner keeps it alive until the completion without `more`.
class operation {
  public:
    explicit operation(any_op what) noexcept : what(what) {}
    operation(const operation&) = delete;
    operation& operator=(const operation&) = delete;

    /// Makes the waiting task ready; runs no user code; may destroy this object unless `more`.
    /// thread   the shard that started it
    virtual void complete(const completion& outcome) noexcept = 0;

    any_op what;
    operation* next = nullptr;           ///< for the backend, while it holds the operation
    operation* previous = nullptr;       ///< likewise
    std::uint64_t backend_data[2] = {};  ///< likewise

  protected:
    ~operation() = default;

  private:
    friend class backend;
    std::uint8_t _asked_again = 0;
};

class budget;
struct budget_options;

/// The seam between weir and a kernel: a poller that also takes operations.
class backend : public poller {
  public:
    ~backend() override;

    /// Starts `work`; its completion comes in a later poll(), never within this call. When the
    /// limit of operations in flight is reached, it waits in line here. Where there is no memory
    /// for it, it completes with -ENOMEM: whoever starts it in a completion has nobody to tell.
    virtual void start(operation& work) noexcept = 0;
    /// Asks for an early end of `work`, which still completes (with -ECANCELED, or as it would).
    /// Nothing happens if it has completed.
    virtual void cancel(operation& work) noexcept = 0;
    /// Closes a descriptor that nobody uses at once, for whoever has no memory for an operation.
    virtual void close_now(int fd) noexcept = 0;
    /// Gives a lent buffer back.
    virtual void release(const lent_buffer& buffer) noexcept = 0;

    /// What reads and writes of files pass on their way here: see budget.hh.
    class budget& budget() noexcept { return *_budget; }

  protected:
    explicit backend(const budget_options& options);

    /// How often in a row an operation is asked again before its owner hears of it.
    static constexpr unsigned asks_max = 255;
    /// The last step of an operation, or of one of its completions: tells its owner. Where the
    /// kernel was only interrupted (EINTR), or lacked something for a moment (EAGAIN), it starts
    /// the operation again instead.
    /// outcome  of one that was cancelled: never these two
    void finish(operation& work, completion outcome) noexcept;

  private:
    static bool asks_again(operation& work, std::int32_t result) noexcept;

    const std::unique_ptr<class budget> _budget;
};

}  // namespace weir::io
