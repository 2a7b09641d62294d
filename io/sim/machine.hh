// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <netinet/in.h>

#include <weir/io/sim/backend.hh>
#include <weir/io/sim/disk.hh>
#include <weir/io/sim/engine.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/network.hh>

namespace weir::io::sim {

/// An open file or socket.
struct descriptor {
    file_ref file;
    socket_ref socket;
    op::access mode = op::access::read_write;
    bool direct = false;
    bool data_sync = false;
    bool locked = false;
    std::uint64_t position = 0;

    bool used() const noexcept { return file || socket; }
};

/// What a shard's turn is to the world: it runs once and says, on its host's clock, when it wants
/// to run next.
using turn_function = std::function<instant()>;

/// What a turn returns that has ended its own host.
inline constexpr instant stopped_running = instant::min();

/// A computer: a disk, an address, a clock, and at most one process with its shards. It survives
/// its processes.
class machine {
  public:
    machine(engine& shared, network& net, std::uint32_t id, std::string name,
            const disk_options& storage);
    ~machine();
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;

    const std::string& name() const noexcept { return _name; }
    std::uint32_t id() const noexcept { return _id; }
    bool powered() const noexcept { return _powered; }
    bool running() const noexcept { return !_shards.empty(); }
    unsigned shards() const noexcept { return static_cast<unsigned>(_shards.size()); }
    /// How many processes it has had.
    unsigned incarnation() const noexcept { return _incarnation; }
    class disk& disk() noexcept { return _disk; }
    host_clock& clock() noexcept { return _clock; }
    std::uint32_t address() const noexcept { return _address; }  ///< in host byte order
    /// Whether it still runs the process that it had as incarnation `process`.
    bool runs(unsigned process) const noexcept { return running() && _incarnation == process; }
    /// Its address and a port, as connect takes it.
    sockaddr_storage at(std::uint16_t port) const noexcept;
    /// The kernel as shard `shard` of the running process sees it.
    shard_backend& backend(unsigned shard) noexcept { return *_shards[shard]->backend; }
    memory::arena& memory() noexcept { return *_memory; }

    // For the rest of the simulator.

    /// Gives the new process its shards; they run only once they have a turn.
    void boot(unsigned shards);
    void set_turn(unsigned shard, turn_function turn);
    /// Has the shard take a turn at `when`, or before if it is already to.
    void schedule(unsigned shard, instant when);
    /// After a seeded delay: something happened, or does so `later`, that the shard waits for.
    void wake(unsigned shard, duration later = {});
    /// In a turn of `shard`, perhaps: its core is held up while its peers take turns.
    void hold_up(unsigned shard);
    /// Ends the process; frees its memory as a list.
    void down(bool power_cut);

    int add(descriptor opened);
    /// Whether the kernel has no descriptor for what asks for one: -errno if so, else 0.
    int refuses_descriptor();
    descriptor* find(int fd) noexcept;
    int close(int fd);
    /// Runs an operation: now, or as an event later.
    void execute(const request_ref& asked);
    /// Takes it out of the line where it waits; returns whether it waited.
    bool cancel(const request_ref& asked) { return _network.cancel(asked); }
    void let_go(const socket_ref& held) { _network.let_go(held); }

    std::map<std::uint64_t, socket_ref>& sockets() noexcept { return _sockets; }
    const std::map<std::uint64_t, socket_ref>& sockets() const noexcept { return _sockets; }
    std::uint16_t ephemeral_port();

  private:
    struct shard_state {
        std::unique_ptr<shard_backend> backend;
        turn_function turn;
        bool in_turn = false;
        instant busy_until{};
        instant scheduled = never;
        std::uint64_t appointment = 0;
    };
    struct direct_write {
        request_ref of;
        file_ref target;
        std::uint64_t offset;
        std::vector<std::byte> bytes;  // as they were when it started
        std::uint64_t started;
        bool data_sync;
        std::set<std::uint64_t> landed;  // what sector_written says where it came early
    };
    using direct_write_ref = std::shared_ptr<direct_write>;

    static constexpr int first_descriptor = 3;

    void take_turn(unsigned shard, instant when);
    std::optional<unsigned> next_turn(instant until) const;

    // file_operations.cc
    void run(const request_ref& asked, const op::nop&);
    void run(const request_ref& asked, const op::open& what);
    void run(const request_ref& asked, const op::close& what);
    void run(const request_ref& asked, const op::stat& what);
    void run(const request_ref& asked, const op::read& what);
    void run(const request_ref& asked, const op::write& what);
    void run(const request_ref& asked, const op::sync& what);
    void run(const request_ref& asked, const op::allocate& what);
    void run(const request_ref& asked, const op::truncate& what);
    void run(const request_ref& asked, const op::lock& what);
    void run(const request_ref& asked, const op::position& what);
    void run(const request_ref& asked, const op::rename& what);
    void run(const request_ref& asked, const op::unlink& what);
    void run(const request_ref& asked, const op::make_directory& what);
    void run(const request_ref& asked, const op::list_directory& what);
    void run(const request_ref& asked, const op::listen& what);
    void run(const request_ref& asked, const op::connect& what);
    template <typename Operation>
    void run(const request_ref& asked, const Operation& what);  // on a socket

    int refuses(const any_op& what);
    descriptor* file_of(const request_ref& asked, int fd);
    void later(const request_ref& asked, time_range delay, std::uint64_t bytes,
               std::function<void()> action, bool on_device = false);
    void later_on(const file_ref& of, const request_ref& asked, time_range delay,
                  std::uint64_t bytes, const std::function<void()>& action, bool on_device);
    int check_alignment(const descriptor& fd, std::uint64_t offset, const iovec* vector,
                        std::uint32_t count) const;
    void finish_read(const request_ref& asked, const descriptor& fd, const op::read& what);
    void finish_buffered_write(const request_ref& asked, const descriptor& fd,
                               const op::write& what);
    void start_direct_write(const request_ref& asked, const descriptor& fd, const op::write& what);
    void apply_direct_write(const direct_write_ref& write, std::uint64_t length, bool half);
    void finish_direct_write(const direct_write_ref& write);
    void finish_sync(const request_ref& asked, const file_ref& target);
    void cut_writes_in_flight(bool power_cut);

    engine& _engine;
    network& _network;
    std::uint32_t _id;
    std::string _name;
    std::uint32_t _address;
    class disk _disk;
    host_clock _clock;
    bool _powered = true;
    unsigned _incarnation = 0;
    std::unique_ptr<memory::arena> _memory;
    std::vector<std::unique_ptr<shard_state>> _shards;
    std::vector<descriptor> _descriptors;
    std::map<std::uint64_t, socket_ref> _sockets;
    std::vector<direct_write_ref> _writes;
    std::uint16_t _next_port;
};

}  // namespace weir::io::sim
