// SPDX-License-Identifier: Apache-2.0
#include <weir/io/sim/disk.hh>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace weir::io::sim {

namespace {

std::vector<std::string_view> components(std::string_view path) {
    std::vector<std::string_view> result;
    while (!path.empty()) {
        const std::size_t slash = std::min(path.find('/'), path.size());
        const std::string_view name = path.substr(0, slash);
        if (name == "..") {
            if (!result.empty()) {
                result.pop_back();
            }
        } else if (!name.empty() && name != ".") {
            result.push_back(name);
        }
        path.remove_prefix(std::min(slash + 1, path.size()));
    }
    return result;
}

}  // namespace

disk::disk(const disk_options& options, fault_injector& faults)
    : _options(options), _faults(faults), _root(std::make_shared<file>(0, true)) {}

// The directory that holds, or would hold, the last name of the path. The root has no name.
int disk::locate(std::string_view path, place& result) const {
    const std::vector<std::string_view> names = components(path);
    file_ref at = _root;
    for (std::size_t i = 0; i + 1 < names.size(); ++i) {
        const auto found = at->entries.find(names[i]);
        if (found == at->entries.end()) {
            return -ENOENT;
        }
        if (!found->second->is_directory) {
            return -ENOTDIR;
        }
        at = found->second;
        if (at->forbidden) {
            return -EACCES;
        }
    }
    result = {at, names.empty() ? std::string() : std::string(names.back())};
    return 0;
}

int disk::find(std::string_view path, file_ref& result) const {
    place where;
    if (const int failed = locate(path, where); failed != 0) {
        return failed;
    }
    if (where.name.empty()) {
        result = _root;
        return 0;
    }
    const auto found = where.directory->entries.find(where.name);
    if (found == where.directory->entries.end()) {
        return -ENOENT;
    }
    result = found->second;
    return 0;
}

void disk::note(change_of_names done) {
    _unsynced.push_back(std::move(done));
}

int disk::open(std::string_view path, const op::open& how, file_ref& result) {
    const int found = find(path, result);
    if (found == 0) {
        if (how.create && how.exclusive) {
            return -EEXIST;
        }
        if (result->forbidden) {
            return -EACCES;
        }
        if (result->is_directory && (how.mode != op::access::read || how.create)) {
            return -EISDIR;
        }
        if (!result->is_directory && how.directory) {
            return -ENOTDIR;
        }
        if (how.truncate && how.mode != op::access::read && result->bytes.size() != 0) {
            result->bytes.resize(0);
        }
        return 0;
    }
    place where;
    if (const int failed = locate(path, where); failed != 0) {
        return failed;
    }
    if (found != -ENOENT || !how.create || where.name.empty()) {
        return found;
    }
    result = std::make_shared<file>(_next_id++, false);
    where.directory->entries[where.name] = result;
    note({{}, where, result});
    return 0;
}

int disk::make_directory(std::string_view path) {
    place where;
    if (const int failed = locate(path, where); failed != 0) {
        return failed;
    }
    if (where.name.empty() || where.directory->entries.contains(where.name)) {
        return -EEXIST;
    }
    auto made = std::make_shared<file>(_next_id++, true);
    where.directory->entries[where.name] = made;
    note({{}, where, std::move(made)});
    return 0;
}

int disk::unlink(std::string_view path, bool directory) {
    place where;
    file_ref target;
    if (const int failed = find(path, target); failed != 0) {
        return failed;
    }
    if (directory != target->is_directory) {
        return directory ? -ENOTDIR : -EISDIR;
    }
    if (target == _root) {
        return -EBUSY;
    }
    if (!target->entries.empty()) {
        return -ENOTEMPTY;
    }
    locate(path, where);
    where.directory->entries.erase(where.name);
    note({where, {}, target});
    return 0;
}

int disk::rename(std::string_view from, std::string_view to) {
    place source;
    place target;
    file_ref moved;
    if (const int failed = find(from, moved); failed != 0) {
        return failed;
    }
    if (const int failed = locate(to, target); failed != 0) {
        return failed;
    }
    if (moved == _root || target.name.empty()) {
        return -EBUSY;
    }
    locate(from, source);
    const auto existing = target.directory->entries.find(target.name);
    if (existing != target.directory->entries.end()) {
        const file& victim = *existing->second;
        if (&victim == moved.get()) {
            return 0;
        }
        if (victim.is_directory != moved->is_directory) {
            return victim.is_directory ? -EISDIR : -ENOTDIR;
        }
        if (!victim.entries.empty()) {
            return -ENOTEMPTY;
        }
    }
    source.directory->entries.erase(source.name);
    target.directory->entries[target.name] = moved;
    note({source, target, moved});
    return 0;
}

int disk::list(std::string_view path, std::vector<std::string>& names) {
    file_ref directory;
    if (const int failed = find(path, directory); failed != 0) {
        return failed;
    }
    if (!directory->is_directory) {
        return -ENOTDIR;
    }
    if (directory->forbidden) {
        return -EACCES;
    }
    for (const auto& [name, entry] : directory->entries) {
        names.push_back(name);
    }
    for (std::size_t i = names.size(); i > 1; --i) {
        std::swap(names[i - 1], names[_faults.random().below(i)]);
    }
    return static_cast<int>(names.size());
}

instant disk::busy(instant now, duration time) {
    if (_options.channels == 0) {
        return now + time;
    }
    _channels.resize(_options.channels);
    instant& first_free = *std::min_element(_channels.begin(), _channels.end());
    first_free = std::max(first_free, now) + time;
    return first_free;
}

std::uint64_t disk::fits(const file& target, std::uint64_t offset, std::uint64_t length) const {
    if (_options.capacity == 0) {
        return length;
    }
    const std::uint64_t taken = used();
    const std::uint64_t free = taken < _options.capacity ? _options.capacity - taken : 0;
    if (target.bytes.missing(offset, length) * chunk_size <= free) {
        return length;
    }
    // As much of the front as fits: whole chunks.
    std::uint64_t result = 0;
    while (result < length) {
        const std::uint64_t step = chunk_size - (offset + result) % chunk_size;
        if (target.bytes.missing(offset, result + step) * chunk_size > free) {
            break;
        }
        result += step;
    }
    return std::min(result, length);
}

std::int64_t disk::room(const file& target, std::uint64_t offset, std::uint64_t length) {
    if (_faults.strikes(fault::no_space)) {
        return -ENOSPC;
    }
    const std::uint64_t result = fits(target, offset, length);
    if (result < length) {
        _faults.count(fault::no_space);
    }
    return result == 0 && length != 0 ? -ENOSPC : static_cast<std::int64_t>(result);
}

void disk::make_durable(const change_of_names& done) {
    if (done.gone.directory) {
        auto& entries = done.gone.directory->durable_entries;
        const auto found = entries.find(done.gone.name);
        if (found != entries.end() && found->second == done.target) {
            entries.erase(found);
        }
    }
    if (done.made.directory) {
        done.made.directory->durable_entries[done.made.name] = done.target;
    }
}

void disk::sync(file& target) {
    if (!target.is_directory) {
        target.bytes.persist();
        return;
    }
    std::erase_if(_unsynced, [&](const change_of_names& done) {
        if (done.gone.directory.get() != &target && done.made.directory.get() != &target) {
            return false;
        }
        make_durable(done);
        return true;
    });
}

void disk::cut_tree(file& directory) {
    directory.entries = directory.durable_entries;
    for (auto& [name, entry] : directory.entries) {
        if (entry->is_directory) {
            cut_tree(*entry);
        } else {
            entry->bytes.power_cut(_faults);
        }
    }
}

void disk::power_cut() {
    for (const change_of_names& done : _unsynced) {
        if (_faults.would_strike(fault::lost_entry)) {
            _faults.count(fault::lost_entry);
        } else {
            make_durable(done);
        }
    }
    _unsynced.clear();
    cut_tree(*_root);
}

std::uint64_t disk::used_by(const file& from) const {
    std::uint64_t total = from.bytes.allocated() * chunk_size;
    for (const auto& [name, entry] : from.entries) {
        total += used_by(*entry);
    }
    return total;
}

std::uint64_t disk::used() const {
    return used_by(*_root);
}

file_ref disk::walk(std::string_view path, bool durable) const {
    file_ref at = _root;
    for (const std::string_view name : components(path)) {
        const auto& entries = durable ? at->durable_entries : at->entries;
        const auto found = entries.find(name);
        if (found == entries.end()) {
            return nullptr;
        }
        at = found->second;
    }
    return at;
}

std::vector<std::byte> disk::durable_bytes(std::string_view path) const {
    std::vector<std::byte> result;
    if (const file_ref found = walk(path, true)) {
        result.resize(found->bytes.durable_size());
        found->bytes.read_durable(0, result);
    }
    return result;
}

std::vector<std::byte> disk::bytes(std::string_view path) const {
    std::vector<std::byte> result;
    if (const file_ref found = walk(path, false)) {
        result.resize(found->bytes.size());
        found->bytes.read(0, result);
    }
    return result;
}

bool disk::stall(std::string_view path, bool stalled) {
    file_ref target;
    if (find(path, target) != 0) {
        return false;
    }
    target->stalled = stalled;
    for (const auto& each : target->entries) {
        each.second->stalled = stalled;
    }
    return true;
}

bool disk::forbid(std::string_view path, bool forbidden) {
    file_ref target;
    if (find(path, target) != 0) {
        return false;
    }
    target->forbidden = forbidden;
    return true;
}

bool disk::corrupt(std::string_view path, std::uint64_t offset, std::span<const std::byte> bytes) {
    const file_ref found = walk(path, false);
    if (!found || offset > found->bytes.size() || bytes.size() > found->bytes.size() - offset) {
        return false;
    }
    found->bytes.spoil(offset, bytes);
    return true;
}

void disk::spoil(file& target, std::uint64_t offset, std::uint8_t bits) {
    std::byte spoilt{};
    target.bytes.read(offset, {&spoilt, 1});
    spoilt ^= std::byte{bits};
    target.bytes.spoil(offset, {&spoilt, 1});
}

bool disk::spoil(std::string_view path, std::uint64_t offset, std::uint8_t bits) {
    const file_ref found = walk(path, false);
    if (!found || offset >= found->bytes.size()) {
        return false;
    }
    spoil(*found, offset, bits);
    return true;
}

void disk::files_with_bytes(const file& directory, std::vector<file_ref>& found) {
    for (const auto& [name, entry] : directory.entries) {
        if (entry->is_directory) {
            files_with_bytes(*entry, found);
        } else if (entry->bytes.size() != 0) {
            found.push_back(entry);
        }
    }
}

bool disk::rot() {
    std::vector<file_ref> files;
    files_with_bytes(*_root, files);
    if (files.empty()) {
        return false;
    }
    random_stream& random = _faults.random();
    file& victim = *files[random.below(files.size())];
    spoil(victim, random.below(victim.bytes.size()),
          static_cast<std::uint8_t>(1U << random.below(8)));
    return true;
}

}  // namespace weir::io::sim
