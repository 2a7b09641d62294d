// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <sys/uio.h>

#include <weir/core/abort.hh>
#include <weir/core/future.hh>

namespace weir::io {

/// What somebody else has opened and handed over: the standard input and output, an inherited pipe.
/// It is asked whether it has a position. If so (a file, most devices) it is read and written
/// there, by the budget, and the position is set after what was really done: a short write that a
/// full disk or a limit cuts loses nothing, and whoever shares the position goes on from there. If
/// not (a pipe, a terminal, a connection) its bytes come and go in their order. Never closed.
/// thread   one shard; one read and one write at a time
class descriptor {
  public:
    /// name  for errors
    descriptor(int number, std::string name) : _number(number), _name(std::move(name)) {}

    /// What comes next, as soon as there is some of it.
    /// give_up  ends the wait for a pipe's or terminal's next byte; not null: outlives the call
    /// returns  the count; 0 at the end, or if `into` is empty
    /// fails    weir::error; with the reason of `give_up`: then nothing was read
    future<std::size_t> read(std::span<std::byte> into, abort_source* give_up = nullptr);
    /// Writes all of the parts, which are changed, going on after short writes.
    /// give_up  ends the wait for room in a pipe; what was written before stays written
    /// fails    weir::error, with EPIPE if nobody reads any more; with the reason of `give_up`
    future<> write(std::span<iovec> parts, abort_source* give_up = nullptr);

    const std::string& name() const noexcept { return _name; }
    int number() const noexcept { return _number; }

  private:
    struct place {
        bool known = false;    ///< it has a position
        bool appends = false;  ///< O_APPEND: each write goes to the end, wherever that is
        std::uint64_t position = 0;
    };
    future<place> ask(const char* operation);
    future<> move_to(const place& from, std::uint64_t done, const char* operation);

    const int _number;
    const std::string _name;
};

}  // namespace weir::io
