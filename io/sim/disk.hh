// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <weir/core/time.hh>
#include <weir/io/op.hh>
#include <weir/io/sim/content.hh>
#include <weir/io/sim/options.hh>

namespace weir::io::sim {

/// A file or directory, whether or not a name leads to it.
struct file {
    explicit file(std::uint64_t id, bool is_directory) : id(id), is_directory(is_directory) {}

    std::uint64_t id;
    bool is_directory;
    bool forbidden = false;  // see disk::forbid()
    bool stalled = false;    // see disk::stall()
    content bytes;
    std::map<std::string, std::shared_ptr<file>, std::less<>> entries;
    std::map<std::string, std::shared_ptr<file>, std::less<>> durable_entries;

    // Who writes a sector last when direct writes overlap in time: see file_operations.cc.
    std::uint64_t writes_started = 0;
    unsigned writes_in_flight = 0;
    std::map<std::uint64_t, std::uint64_t> sector_written;
};
using file_ref = std::shared_ptr<file>;

/// A host's disk: a tree of names and the files under it. Changes of a directory last only when
/// the directory has been synced; each unsynced one is kept or undone on its own at a power cut.
/// Calls here take no time; file_operations.cc gives them some. Results are as of the system
/// calls: 0 or more, else -errno.
class disk {
  public:
    disk(const disk_options& options, fault_injector& faults);

    /// result   the file, if the return value is 0
    int open(std::string_view path, const op::open& how, file_ref& result);
    int find(std::string_view path, file_ref& result) const;
    int rename(std::string_view from, std::string_view to);
    int unlink(std::string_view path, bool directory);
    int make_directory(std::string_view path);
    /// The names in seeded order.
    int list(std::string_view path, std::vector<std::string>& names);

    /// Space for a write or a reservation: how many of its bytes fit, or -ENOSPC.
    std::int64_t room(const file& target, std::uint64_t offset, std::uint64_t length);
    /// The same without faults.
    std::uint64_t fits(const file& target, std::uint64_t offset, std::uint64_t length) const;
    /// fsync: the bytes of a file, the entries of a directory.
    void sync(file& target);

    /// What is left after a power cut.
    void power_cut();

    const disk_options& options() const noexcept { return _options; }
    /// From now on it is another: slower, or with fewer channels.
    void change(const disk_options& options) { _options = options; }
    /// When a read or write that comes at `now`, and keeps the device busy for `time`, is done.
    instant busy(instant now, duration time);
    /// Bytes taken by files that a name leads to.
    std::uint64_t used() const;

    /// For oracles: what a power cut that loses all it may lose would leave of a file, empty if
    /// no durable name leads to it.
    std::vector<std::byte> durable_bytes(std::string_view path) const;
    /// The file as programs read it.
    std::vector<std::byte> bytes(std::string_view path) const;
    /// Changes bytes of a file behind everybody's back, on the device too: bit rot.
    /// returns  false if the file has no such bytes
    bool corrupt(std::string_view path, std::uint64_t offset, std::span<const std::byte> bytes);
    /// The same with one byte, some of whose bits flip.
    bool spoil(std::string_view path, std::uint64_t offset, std::uint8_t bits = 0xff);
    /// From now on nobody may open or list it, nor reach what is in it; or everybody again.
    /// returns  false if it is not there
    bool forbid(std::string_view path, bool forbidden = true);
    /// From now on no read, write or sync of this file, or of those in this directory, comes to an
    /// end; or they do again.
    /// returns  false if it is not there
    bool stall(std::string_view path, bool stalled = true);
    /// Spoils a byte of some file that a name leads to, as fault::bit_rot does.
    /// returns  false if no file has a byte
    bool rot();

  private:
    struct place {
        file_ref directory;
        std::string name;
    };
    /// One change of names, atomic at a power cut: a new name, a name gone, or both at once.
    struct change_of_names {
        place gone;
        place made;
        file_ref target;
    };

    int locate(std::string_view path, place& result) const;
    file_ref walk(std::string_view path, bool durable) const;
    void note(change_of_names done);
    static void make_durable(const change_of_names& done);
    std::uint64_t used_by(const file& from) const;
    void cut_tree(file& directory);
    static void spoil(file& target, std::uint64_t offset, std::uint8_t bits);
    static void files_with_bytes(const file& directory, std::vector<file_ref>& found);

    disk_options _options;
    fault_injector& _faults;
    std::uint64_t _next_id = 1;
    file_ref _root;
    std::vector<change_of_names> _unsynced;
    std::vector<instant> _channels;  // when each is free
};

}  // namespace weir::io::sim
