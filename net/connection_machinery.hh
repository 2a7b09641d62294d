// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include <weir/core/future.hh>
#include <weir/core/timer.hh>
#include <weir/io/backend.hh>
#include <weir/io/submit.hh>
#include <weir/net/connection.hh>

namespace weir::net {

/// The multishot receive that runs as long as there is room for what it brings.
class connection::receive_operation final : public io::operation {
  public:
    explicit receive_operation(machinery& of) noexcept : operation(io::op::nop{}), _of(of) {}
    void complete(const io::completion& outcome) noexcept override;

  private:
    machinery& _of;
};

/// A single receive into memory of our own: progress when every loan is out.
class connection::private_receive final : public io::operation {
  public:
    private_receive(machinery& of, int fd, std::size_t bytes);
    void complete(const io::completion& outcome) noexcept override;

  private:
    machinery& _of;
    std::unique_ptr<std::byte[]> _memory;
};

/// All of a send, piece by piece.
class connection::send_operation final : public io::operation {
  public:
    explicit send_operation(machinery& of) noexcept : operation(io::op::nop{}), _of(of) {}

    future<> start(std::span<const iovec> parts);
    void time_out() noexcept {
        _timed_out = true;
        io::this_backend().cancel(*this);
    }
    void complete(const io::completion& outcome) noexcept override;

  private:
    void begin_patience();
    void start_piece() noexcept;
    void advance(std::size_t count) noexcept;
    std::exception_ptr failure(int errno_value) const noexcept;

    machinery& _of;
    std::vector<iovec> _parts;
    std::size_t _first = 0;
    std::size_t _left = 0;
    iovec _piece{};  // of a part that is larger than a piece
    bool _timed_out = false;
    promise<> _sent;
};

/// Gives the descriptor back.
class connection::close_operation final : public io::operation {
  public:
    explicit close_operation(machinery& of) noexcept : operation(io::op::nop{}), _of(of) {}
    void complete(const io::completion& outcome) noexcept override;

  private:
    machinery& _of;
};

/// Ends a wait at its deadline. A wait that ends in time leaves the timer armed, since the next
/// one will hardly be due earlier: waiting costs two stores.
class connection::patience final : public timer {
  public:
    patience(connection& owner, void (connection::*late)() noexcept) noexcept
        : _owner(owner), _late(late) {}

    void begin(instant deadline);
    void end() noexcept { _deadline = never; }
    /// Of a wait that has begun. Without memory for a timer it stays as it was.
    void shorten(instant deadline) noexcept;

  protected:
    void fire() noexcept override;

  private:
    connection& _owner;
    void (connection::*_late)() noexcept;
    instant _deadline = never;
    duration _absent{};  // when the wait began
};

/// What the kernel works on for a connection. It may outlive the connection: it goes once
/// everything has ended and the descriptor was given back.
class connection::machinery {
  public:
    explicit machinery(connection& owner)
        : owner(&owner),
          receive(*this),
          send(*this),
          close(*this),
          receive_patience(owner, &connection::receive_late),
          send_patience(owner, &connection::send_late) {}

    void start_receive();
    /// Likewise, when all loans are out.
    void start_private_receive();
    /// Asks for the end of whatever is under way.
    void cancel() noexcept;
    void cancel_receive() noexcept;
    /// Gives the descriptor back now, beside what is under way.
    /// reset    the peer is told so, and what it has not taken is dropped
    void give_back(bool reset) noexcept;
    /// Something has ended: goes if that was the last and the connection has gone.
    void rest() noexcept;
    /// The connection goes.
    /// returns  when everything has ended
    static future<> let_go(std::unique_ptr<machinery> all) noexcept;

    connection* owner;  ///< null once it has gone
    int fd = -1;
    bool receiving = false;
    bool sending = false;
    bool closing = false;
    bool aborted = false;
    receive_operation receive;
    std::unique_ptr<private_receive> own_receive;
    send_operation send;
    close_operation close;
    patience receive_patience;
    patience send_patience;
    promise<> gone;
};

/// An error of a connection; std::bad_alloc where there is no memory for it.
std::exception_ptr failure_of(const char* operation, const address& peer,
                              std::error_code cause) noexcept;
inline std::error_code of_errno(int value) noexcept {
    return {value, std::generic_category()};
}

}  // namespace weir::net
