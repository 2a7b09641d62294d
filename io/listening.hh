// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <list>
#include <mutex>

#include <weir/io/op.hh>

namespace weir::io {

/// The addresses that a host's shards listen on. An address is the host's alone: the first listener
/// takes it exclusively, so that the kernel refuses it, and each one that overlaps with it, to
/// another process, and refuses it here if another has it. Further listeners of the host on the
/// same address share it.
///
/// The first binds without SO_REUSEPORT, which a kernel grants to one process only, and sets it
/// when a second joins: who binds first without it never joins anybody.
/// thread   any. listen() is for one that may wait: processes that begin at one instant get out of
///          each other's way by pauses of up to 0.2 ms. Only who wants the same address waits, too
class listening_addresses {
  public:
    listening_addresses() = default;
    listening_addresses(const listening_addresses&) = delete;
    listening_addresses& operator=(const listening_addresses&) = delete;
    /// Closes what is left.
    ~listening_addresses();

    /// As op::listen.
    /// returns  a descriptor, for close(), or -errno: -EADDRINUSE too if another has the address
    /// thread   none that runs a shard
    int listen(const op::listen& what) noexcept;
    /// Closes a listener, at once, so that the address is free when the last of them is closed.
    /// returns  false if `fd` is no listener from here: nothing has happened
    bool close(int fd) noexcept;

  private:
    struct listener {
        int fd;
        sockaddr_storage address;
        socklen_t length;
    };
    using listeners = std::list<listener>;
    static constexpr int being_taken = -1;  // as descriptor: somebody tries to listen there

    listeners::iterator find(const op::listen& what) noexcept;
    static int join(const op::listen& what, int first) noexcept;

    std::mutex _mutex;
    std::condition_variable _taken;  // or not
    listeners _open;
};

}  // namespace weir::io
