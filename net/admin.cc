// SPDX-License-Identifier: Apache-2.0
#include <weir/net/admin.hh>

#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include <weir/core/await_all.hh>
#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/metrics.hh>
#include <weir/core/when.hh>
#include <weir/io/submit.hh>

namespace weir::net {

namespace {

struct group_view {
    std::string name;
    group_counters counted;
    unsigned shares = 0;
};

/// All that the page shows of a shard, gathered there.
struct shard_view {
    metrics_snapshot metrics;
    std::vector<group_view> groups;
    std::size_t calls_waiting = 0;  // for a credit
};

shard_view view_of_this_shard() {
    shard& own = this_shard();
    shard_view view;
    view.metrics = own.metrics().snapshot(own.id());
    const scheduler& groups = own.scheduler();
    for (std::size_t index = 0; index < groups.group_count(); ++index) {
        const scheduling_group group{static_cast<std::uint8_t>(index)};
        view.groups.push_back({groups.name(group), groups.counters(group)});
    }
    for (shard_id peer = 0; peer < this_host().shard_count(); ++peer) {
        if (peer != own.id()) {
            view.calls_waiting += own.port().waiting(peer);
        }
    }
    return view;
}

future<std::vector<shard_view>> all_shards() {
    std::vector<future<shard_view>> asked;
    asked.reserve(this_host().shard_count());
    for (shard_id id = 0; id < this_host().shard_count(); ++id) {
        asked.push_back(on(id, [] { return view_of_this_shard(); }));
    }
    co_return co_await when_all_succeed(std::move(asked));
}

/// The value of a series as it leaves; nothing for a histogram.
std::optional<double> value_of(const metric_family& family, const metric_sample& sample) {
    if (const auto* number = std::get_if<std::uint64_t>(&sample.value)) {
        return static_cast<double>(*number) * family.scale;
    }
    if (const auto* number = std::get_if<double>(&sample.value)) {
        return *number * family.scale;
    }
    return std::nullopt;
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char each : text) {
        if (each == '"' || each == '\\') {
            out += '\\';
            out += each;
        } else if (static_cast<unsigned char>(each) < 0x20) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(each));
        } else {
            out += each;
        }
    }
    return out + '"';
}

// weir's own metrics by name, each added up over its labels. Those of applications may be many:
// they come in tables.
void append_metrics(std::string& out, const metrics_snapshot& snapshot) {
    out += "\"metrics\":{";
    const char* comma = "";
    for (const metric_family& family : snapshot.families) {
        double total = 0;
        bool known = false;
        for (const metric_sample& sample : family.samples) {
            if (const auto value = value_of(family, sample)) {
                total += *value;
                known = true;
            }
        }
        if (known && family.name.starts_with("weir_")) {
            fmt::format_to(std::back_inserter(out), "{}{}:{}", comma, quoted(family.name), total);
            comma = ",";
        }
    }
    out += '}';
}

void append_shard(std::string& out, const shard_view& view) {
    fmt::format_to(std::back_inserter(out), "{{\"id\":{},\"calls_waiting\":{},",
                   view.metrics.shard.value_or(0), view.calls_waiting);
    append_metrics(out, view.metrics);
    out += ",\"groups\":[";
    const char* comma = "";
    for (const group_view& group : view.groups) {
        fmt::format_to(std::back_inserter(out),
                       "{}{{\"name\":{},\"tasks\":{},\"ready\":{},\"runtime\":{}}}", comma,
                       quoted(group.name), group.counted.tasks, group.counted.ready,
                       std::chrono::duration<double>(group.counted.runtime).count());
        comma = ",";
    }
    out += "]}";
}

const char* name_of(admin_unit unit) {
    switch (unit) {
        case admin_unit::count:
            return "count";
        case admin_unit::bytes:
            return "bytes";
        case admin_unit::count_per_second:
            return "count/s";
        case admin_unit::bytes_per_second:
            return "bytes/s";
    }
    return "";
}

/// The rows of a table, by name.
using table_rows = std::map<std::string, std::vector<double>>;

std::optional<std::string> row_name(const admin_table& table, const metric_sample& sample) {
    std::string name;
    for (const std::string& wanted : table.row_labels) {
        const auto found = std::ranges::find(sample.labels, wanted, &metric_label::name);
        if (found == sample.labels.end()) {
            return std::nullopt;
        }
        name += (name.empty() ? "" : " ") + found->value;
    }
    return name;
}

table_rows rows_of(const admin_table& table, const std::vector<shard_view>& shards) {
    table_rows rows;
    for (std::size_t at = 0; at < table.columns.size(); ++at) {
        for (const shard_view& view : shards) {
            const auto& families = view.metrics.families;
            const auto family =
                std::ranges::find(families, table.columns[at].metric, &metric_family::name);
            if (family == families.end()) {
                continue;
            }
            for (const metric_sample& sample : family->samples) {
                const auto name = row_name(table, sample);
                const auto value = value_of(*family, sample);
                if (name && value) {
                    auto& row = rows.try_emplace(*name, table.columns.size()).first->second;
                    row[at] += *value;
                }
            }
        }
    }
    return rows;
}

void append_table(std::string& out, const admin_table& table,
                  const std::vector<shard_view>& shards) {
    const table_rows rows = rows_of(table, shards);
    fmt::format_to(std::back_inserter(out), "{{\"title\":{},\"row_header\":{},\"columns\":[",
                   quoted(table.title), quoted(table.row_header));
    const char* comma = "";
    for (const admin_table::column& column : table.columns) {
        fmt::format_to(std::back_inserter(out), "{}{{\"header\":{},\"unit\":\"{}\"}}", comma,
                       quoted(column.header), name_of(column.unit));
        comma = ",";
    }
    out += "],\"rows\":[";
    std::size_t shown = 0;
    for (const auto& [name, values] : rows) {
        if (shown == table.rows_max) {
            break;
        }
        fmt::format_to(std::back_inserter(out), "{}[{}", shown++ == 0 ? "" : ",", quoted(name));
        for (const double value : values) {
            fmt::format_to(std::back_inserter(out), ",{}", value);
        }
        out += ']';
    }
    fmt::format_to(std::back_inserter(out), "],\"left_out\":{}}}", rows.size() - shown);
}

/// Resident memory, which the kernel tells in a file; nothing where there is none.
future<std::optional<std::uint64_t>> resident_bytes() {
    const auto fd = co_await io::submit(io::op::open{.path = "/proc/self/statm"});
    if (fd < 0) {
        co_return std::nullopt;
    }
    char text[128] = {};
    const iovec part{text, sizeof text - 1};
    auto read = futurize([&] { return io::submit(io::op::read{fd, 0, &part, 1}); });
    co_await settled(read);
    io::discard(fd);
    const auto count = read.take();
    // Pages: all, then resident ones.
    char* second = nullptr;
    (void)std::strtoull(text, &second, 10);
    if (count <= 0 || second == text) {
        co_return std::nullopt;
    }
    constexpr std::uint64_t page_bytes = 4096;
    co_return std::strtoull(second, nullptr, 10) * page_bytes;
}

}  // namespace

admin_server::admin_server(admin_options options)
    : _options(std::move(options)), _http([this] {
          http_options http = _options.http;
          if (http.server.name.empty()) {
              http.server.name = "admin";
          }
          return http;
      }()) {
    _http.route("/", [](const http_request&) {
        return make_ready_future<http_response>(
            http_response{200, "text/html; charset=utf-8", admin_page});
    });
    _http.route("/healthz", [this](const http_request& request) { return healthz(request); });
    _http.route("/metrics", [this](const http_request& request) { return metrics_text(request); });
    _http.route("/shards.json",
                [this](const http_request& request) { return shards_json(request); });
}

admin_server::~admin_server() = default;

void admin_server::add_page(std::string path, std::string name, http_server::handler serve) {
    // Relative, so that the page may stand behind a proxy's prefix.
    _links +=
        fmt::format("{}[{},{}]", _links.empty() ? "" : ",", quoted(path.substr(1)), quoted(name));
    route(std::move(path), std::move(serve));
}

future<> admin_server::start() {
    _started = this_shard().now();
    return _http.start(_options.at);
}

future<> admin_server::stop() {
    return _http.stop();
}

std::string admin_server::unready() const {
    return this_host().stop_requested() ? "stopping" : _unready;
}

future<http_response> admin_server::healthz(const http_request&) {
    const std::string reason = unready();
    return make_ready_future<http_response>(http_response{reason.empty() ? 200U : 503U,
                                                          "text/plain; charset=utf-8",
                                                          (reason.empty() ? "ok" : reason) + "\n"});
}

future<http_response> admin_server::metrics_text(const http_request&) {
    std::vector<metrics_snapshot> snapshots;
    for (shard_view& view : co_await all_shards()) {
        snapshots.push_back(std::move(view.metrics));
    }
    co_return http_response{200, prometheus_content_type, prometheus_text(snapshots)};
}

future<http_response> admin_server::shards_json(const http_request&) {
    const std::vector<shard_view> shards = co_await all_shards();
    const auto resident = co_await resident_bytes();
    const auto seconds = [](duration time) { return std::chrono::duration<double>(time).count(); };
    const instant now = this_shard().now();
    const std::string health = unready();
    std::string out = fmt::format(
        "{{\"title\":{},\"health\":{},\"time\":{},\"uptime\":{},\"resident_bytes\":{},\"shards\":[",
        quoted(_options.title), quoted(health.empty() ? "ok" : health),
        seconds(now.time_since_epoch()), seconds(now - _started),
        resident ? std::to_string(*resident) : "null");
    for (const shard_view& view : shards) {
        out += &view == shards.data() ? "" : ",";
        append_shard(out, view);
    }
    out += "],\"tables\":[";
    for (const admin_table& table : _options.tables) {
        out += &table == _options.tables.data() ? "" : ",";
        append_table(out, table, shards);
    }
    out += "],\"links\":[" + _links + "]}\n";
    co_return http_response{200, "application/json", out};
}

}  // namespace weir::net
