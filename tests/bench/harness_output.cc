// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include <bench/harness.hh>
#include <fmt/format.h>
#include <sys/utsname.h>

namespace weir::bench {

namespace {

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char each : text) {
        if (each == '"' || each == '\\') {
            out += '\\';
            out += each;
        } else if (static_cast<unsigned char>(each) < 0x20) {
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(each));
        } else {
            out += each;
        }
    }
    return out + "\"";
}

std::string first_line_of(const char* command) {
    std::string line;
    if (std::FILE* const pipe = ::popen(command, "r")) {
        char buffer[256];
        if (std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
            line = buffer;
        }
        ::pclose(pipe);
    }
    while (!line.empty() && line.back() == '\n') {
        line.pop_back();
    }
    return line;
}

/// The processor and how many of it we may use: what a figure depends on first.
std::string host() {
    std::ifstream file("/proc/cpuinfo");
    std::string model = "unknown processor";
    for (std::string line; std::getline(file, line);) {
        const auto colon = line.find(": ");
        if (line.starts_with("model name") && colon != std::string::npos) {
            model = line.substr(colon + 2);
            break;
        }
    }
    return fmt::format("{} x {}", allowed_cpus().size(), model);
}

std::string kernel() {
    utsname names{};
    ::uname(&names);
    return fmt::format("{} {} {}", names.sysname, names.release, names.machine);
}

std::string commit() {
    if (const char* const given = std::getenv("WEIR_COMMIT")) {
        return given;
    }
    return first_line_of("git describe --always --dirty --exclude '*' 2>/dev/null");
}

/// Four digits that mean something, and the size of the number in a letter.
std::string for_people(double value) {
    const double size = std::abs(value);
    if (size >= 1e9) {
        return fmt::format("{:.3g} G", value / 1e9);
    }
    if (size >= 1e6) {
        return fmt::format("{:.3g} M", value / 1e6);
    }
    if (size >= 1e4) {
        return fmt::format("{:.3g} k", value / 1e3);
    }
    return fmt::format("{:.3g}", value);
}

}  // namespace

std::string report::table() const {
    std::string out = fmt::format("{}\nhost    {}\nkernel  {}\ncommit  {}\ncommand {}\n\n", _bench,
                                  host(), kernel(), commit(), _command);
    out += fmt::format("{:<36} {:>8} {:>10} {:>10} {:>10} {:>5} {:>10} {:>6}  {}\n", "row", "unit",
                       "ours", "min", "max", "runs", "peer", "ratio", "");
    for (const row& each : _rows) {
        if (each._ours.empty() || !each.in_table) {
            continue;
        }
        const auto [low, high] = std::minmax_element(each._ours.begin(), each._ours.end());
        const auto ratio = each.ratio();
        out += fmt::format("{:<36} {:>8} {:>10} {:>10} {:>10} {:>5} {:>10} {:>6}  {}", each._name,
                           each._unit, for_people(median(each._ours)), for_people(*low),
                           for_people(*high), each._ours.size(),
                           each._peer.empty() ? "" : for_people(median(each._peer)),
                           ratio ? fmt::format("{:.2f}", *ratio) : "", each._peer_name);
        if (each.allocs_per_op) {
            out += fmt::format(" {:.3g} allocs/op", *each.allocs_per_op);
        }
        if (each.syscalls_per_op) {
            out += fmt::format(" {:.3g} syscalls/op", *each.syscalls_per_op);
        }
        out += '\n';
    }
    out += "\nMedians; ratio is how many times better ours is.\n";
    if (_moved != 0) {
        out += fmt::format("{} pairs were measured again: the CPUs had moved.\n", _moved);
    }
    if (_mixed != 0) {
        out += fmt::format("{} pairs are from another placement: don't trust them.\n", _mixed);
    }
    for (const std::string& each : _notes) {
        out += each + '\n';
    }
    return out;
}

std::string report::json() const {
    std::string rows;
    for (const row& each : _rows) {
        if (each._ours.empty()) {
            continue;
        }
        const auto [low, high] = std::minmax_element(each._ours.begin(), each._ours.end());
        rows += fmt::format(
            "{}\n  {{\"name\":{},\"unit\":{},\"better\":\"{}\",\"ours\":{:.6g},\"min\":{:.6g},"
            "\"max\":{:.6g},\"runs\":{}",
            rows.empty() ? "" : ",", quoted(each._name), quoted(each._unit),
            each._better == better::higher ? "higher" : "lower", median(each._ours), *low, *high,
            each._ours.size());
        if (!each._peer.empty()) {
            rows += fmt::format(",\"peer\":{:.6g},\"peer_name\":{}", median(each._peer),
                                quoted(each._peer_name));
        }
        if (const auto ratio = each.ratio()) {
            rows += fmt::format(",\"ratio\":{:.4g}", *ratio);
        }
        if (each.allocs_per_op) {
            rows += fmt::format(",\"allocs_per_op\":{:.4g}", *each.allocs_per_op);
        }
        if (each.syscalls_per_op) {
            rows += fmt::format(",\"syscalls_per_op\":{:.4g}", *each.syscalls_per_op);
        }
        rows += '}';
    }
    return fmt::format(
        "{{\"bench\":{},\"host\":{},\"kernel\":{},\"commit\":{},\"command\":{},\"rows\":[{}\n]}}\n",
        quoted(_bench), quoted(host()), quoted(kernel()), quoted(commit()), quoted(_command), rows);
}

int report::finish() {
    std::fputs(table().c_str(), stdout);
    if (_json_file.empty()) {
        return 0;
    }
    std::ofstream file(_json_file);
    file << json();
    file.close();
    if (!file) {
        fmt::print(stderr, "bench_{}: cannot write {}\n", _bench, _json_file);
        return 1;
    }
    return 0;
}

}  // namespace weir::bench
