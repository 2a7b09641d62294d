// SPDX-License-Identifier: Apache-2.0
#include <broker/command_line.hh>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>
#include <support/numbers.hh>
#include <sys/resource.h>

#include <weir/core/cgroup.hh>

namespace weir::broker {

namespace {

constexpr const char* about =
    "A log broker that Kafka's clients use unchanged. It acknowledges a record when it is on the\n"
    "device. With no option at all it listens on 127.0.0.1:9092, keeps its data in ./weir-data\n"
    "and has budgets that fit the memory of the machine or its cgroup.";

constexpr const char* examples =
    "Examples:\n"
    "  weir-broker --dir /var/lib/weir --listen 0.0.0.0 --advertise kafka.example.org:9092\n"
    "  weir-broker --port 9192 --shards 2 --log-level debug\n"
    "  WEIR_PORT=9192 weir-broker\n";

/// Options as people write them, before they are what the broker takes.
struct texts {
    std::string listen = "127.0.0.1";
    std::uint16_t port = 9092;
    std::string admin = "127.0.0.1:9644";
    std::string advertise;
    std::string log_level = "info";
    double frame_seconds = 30;
    double idle_seconds = 600;
    double send_seconds = 30;
    double send_seconds_in_want = 5;
    double stop_grace_seconds = 5;
    double reopen_seconds = 30;
    double mark_sync_seconds = 0.1;
    double log_idle_seconds = 60;
    double open_seconds = 0.2;
    unsigned shards = 0;
};

void add_broker_options(CLI::App& app, command_line& line, texts& text) {
    broker_options& broker = line.broker;
    app.add_option("--dir", broker.data_directory, "Where the data is kept")
        ->capture_default_str()
        ->envname("WEIR_DIR");
    app.add_option("--port", text.port, "Port for clients; 0 takes any that is free")
        ->capture_default_str()
        ->envname("WEIR_PORT");
    app.add_option("--listen", text.listen, "Address to listen on, without the port")
        ->capture_default_str()
        ->envname("WEIR_LISTEN");
    app.add_option("--advertise", text.advertise,
                   "host[:port] that clients are told; default: where it listens")
        ->envname("WEIR_ADVERTISE");
    app.add_option("--admin", text.admin, "Address of the admin page and /metrics; \"off\": none")
        ->capture_default_str()
        ->envname("WEIR_ADMIN");
    app.add_option("--partitions", broker.default_partitions,
                   "Partitions of a topic that a client brings into being")
        ->capture_default_str()
        ->check(CLI::Range(1, 10'000))
        ->envname("WEIR_PARTITIONS");
    app.add_flag("!--no-create-topics", broker.create_topics,
                 "Don't create topics that clients ask for");
    app.add_option("--node-id", broker.node_id, "This broker's number")
        ->capture_default_str()
        ->check(CLI::Range(0, std::numeric_limits<std::int32_t>::max()));
}

void add_durability(CLI::App& app, command_line& line) {
    app.add_flag("--tail-copy", line.broker.storage.log.tail_copy,
                 "For devices that may spoil a page that is being written when the power goes: one "
                 "more write a commit. Others leave each sector old or new");
}

void add_traffic_limits(CLI::Option_group& limits, broker_options& broker, texts& text) {
    limits.add_option("--connections-max", broker.server.connections_max, "Connections a shard")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits.add_option("--frame-bytes-max", broker.frames.frame_bytes_max, "Bytes of one request")
        ->capture_default_str();
    limits
        .add_option("--frame-seconds", text.frame_seconds,
                    "Seconds from a request's first byte to its last")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e9));
    limits
        .add_option("--idle-seconds", text.idle_seconds,
                    "Seconds between two requests of one connection")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e9));
    limits
        .add_option("--request-bytes", broker.request_bytes,
                    "Bytes of all requests under way, a shard")
        ->capture_default_str();
    limits
        .add_option("--large-request-bytes", broker.large_request_bytes,
                    "Of these, kept so that the largest request can be finished when "
                    "the rest is used up")
        ->capture_default_str();
    limits
        .add_option("--requests-in-flight", broker.requests_in_flight,
                    "Requests under way of one connection")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
}

void add_answer_limits(CLI::Option_group& limits, broker_options& broker, texts& text) {
    limits
        .add_option("--answer-bytes", broker.answer_bytes,
                    "Bytes of fetched records on their way to clients, a shard")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--answer-bytes-each", broker.answer_bytes_each,
                    "Of these for one connection, so that a slow reader waits for itself")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--send-seconds", text.send_seconds,
                    "Seconds for a client to take each MiB of an answer, or all of a smaller one")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e9));
    limits
        .add_option("--send-seconds-in-want", text.send_seconds_in_want,
                    "Likewise while others wait for the memory that the answer holds")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e9));
    limits
        .add_option("--fetches-in-flight", broker.fetches_in_flight,
                    "Fetches of one connection that hold records; further ones wait for these")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    limits
        .add_option("--elements-max", broker.elements_max,
                    "Topics, partitions and the like that one request may name")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--look-ups-at-once", broker.look_ups_at_once,
                    "Offsets by time that are looked up at the same time, a shard")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    limits
        .add_option("--opened-bytes-max", broker.opened_bytes_max,
                    "Bytes that one compressed batch may open to")
        ->capture_default_str();
    limits
        .add_option("--opened-ratio-max", broker.opened_ratio_max,
                    "Times its own bytes that it may open to, where that is more than 1 MiB")
        ->capture_default_str()
        ->check(CLI::Range(1, 1'000'000));
    limits
        .add_option("--openings-at-once", broker.openings_at_once,
                    "Batches that threads open at the same time, a shard")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    limits
        .add_option("--timestamp-ahead-max-ms", broker.timestamp_ahead_max_ms,
                    "Milliseconds that a record's time may be ahead of ours")
        ->capture_default_str()
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 50));
    limits.add_option("--partitions-max", broker.partitions_max, "Partitions of all topics")
        ->capture_default_str()
        ->check(CLI::Range(std::int64_t{1}, listed_partitions_max));
}

void add_storage_limits(CLI::Option_group& limits, broker_options& broker, texts& text) {
    limits
        .add_option("--segment-bytes", broker.storage.log.segment_bytes,
                    "Bytes of a log file before the next is begun")
        ->capture_default_str();
    limits
        .add_option("--max-batch-bytes", broker.storage.log.max_batch_bytes,
                    "Bytes of one record batch: Kafka's message.max.bytes")
        ->capture_default_str();
    limits
        .add_option("--recent-bytes", broker.storage.recent_bytes,
                    "Memory for the newest records, a shard")
        ->capture_default_str();
    limits
        .add_option("--read-ahead-bytes", broker.storage.read_ahead_bytes,
                    "Memory for what is read from disk before a consumer asks, a shard; 0: none")
        ->capture_default_str();
    limits
        .add_option("--index-bytes", broker.storage.index_bytes,
                    "Memory for the indexes of sealed log files, a shard")
        ->capture_default_str();
    limits
        .add_option("--mark-sync-bytes", broker.storage.log.mark_sync_bytes,
                    "Acknowledged bytes of a log after which the device is told of them")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--mark-sync-seconds", text.mark_sync_seconds,
                    "Seconds after the first of them, by which it is told at the latest")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 3600.0));
    limits
        .add_option("--log-idle-seconds", text.log_idle_seconds,
                    "A log without appends for so long is sealed and closed until the next")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 1e9));
    limits
        .add_option("--open-logs-max", broker.storage.open_logs_max,
                    "Logs open to append to, a shard; two descriptors each, three with --tail-copy")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--read-files-max", broker.storage.read_files_max,
                    "Segments kept open for reading, a shard")
        ->capture_default_str()
        ->check(CLI::PositiveNumber);
    limits
        .add_option("--open-seconds", text.open_seconds,
                    "A start waits so long for all logs; then they are served one by one")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6));
    limits
        .add_option("--recoveries-at-once", broker.storage.recoveries_at_once,
                    "Logs that a start after a crash reads at the same time, a shard")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    limits
        .add_option("--walk-bytes-a-second", broker.storage.log.walk_bytes_a_second,
                    "Rate, a shard, at which a start after a crash looks through what it left")
        ->capture_default_str()
        ->check(CLI::Range(std::uint64_t{1} << 20, std::uint64_t{1} << 40));
    limits.add_option("--reopen-attempts", broker.storage.reopen.attempts_max,
                      "Tries in a row to reopen a log that a failed write stopped; 0: none; "
                      "without it they never end");
    limits
        .add_option("--reopen-seconds", text.reopen_seconds,
                    "Longest wait before such a try; the first comes after 0.1 s")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 1e6));
}

void add_limits(CLI::App& app, command_line& line, texts& text) {
    CLI::Option_group& limits = *app.add_option_group("Limits");
    add_traffic_limits(limits, line.broker, text);
    add_answer_limits(limits, line.broker, text);
    add_storage_limits(limits, line.broker, text);
    limits
        .add_option("--stop-grace", text.stop_grace_seconds,
                    "Seconds for what is under way when it is told to stop")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6));
}

void add_machine_options(CLI::App& app, command_line& line, texts& text) {
    CLI::Option_group& machine = *app.add_option_group("Machine");
    machine.add_option("--shards", text.shards, "Shards; 0: one for each core that it may use")
        ->capture_default_str()
        ->envname("WEIR_SHARDS");
    machine.add_flag("!--no-pin", line.run.pin, "Don't bind shards to cores");
    machine.add_flag("--poll", line.run.host.shard.poll_forever,
                     "Never sleep: lowest latency, and every core busy for ever");
    machine
        .add_option("--log-burst", line.run.host.logging.burst,
                    "Lines of one message at once; then few a second")
        ->capture_default_str();
    machine.add_option("--log-level", text.log_level, "trace, debug, info, warning or error")
        ->capture_default_str()
        ->envname("WEIR_LOG_LEVEL");
}

duration seconds(double count) {
    return std::chrono::milliseconds(static_cast<std::int64_t>(count * 1000));
}

// Names of hosts are no longer than that, with a port.
constexpr std::size_t longest_host = 260;

/// host, host:port, [IPv6] or [IPv6]:port; an IPv6 address alone needs no brackets.
void read_advertised(const std::string& text, broker_options& broker) {
    const auto refuse = [&text] {
        throw CLI::ValidationError("--advertise", "\"" + text + "\" (want host or host:port)");
    };
    const std::size_t bracket = text.front() == '[' ? text.find(']') : 0;
    if (bracket == std::string::npos) {
        refuse();
    }
    std::size_t colon = text.find(':', bracket);
    if (bracket == 0 && colon != text.rfind(':')) {
        colon = std::string::npos;  // an IPv6 address
    }
    if (text.size() > longest_host ||
        !std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isgraph(c); })) {
        throw CLI::ValidationError("--advertise", "a name of at most " +
                                                      std::to_string(longest_host) +
                                                      " letters without spaces is wanted");
    }
    broker.advertised_host = bracket > 0 ? text.substr(1, bracket - 1) : text.substr(0, colon);
    const bool ends_there = bracket == 0 || colon == bracket + 1 || bracket + 1 == text.size();
    if (broker.advertised_host.empty() || !ends_there) {
        refuse();
    }
    if (colon != std::string::npos) {
        const char* const end = text.data() + text.size();
        const auto [stop, failure] =
            std::from_chars(text.data() + colon + 1, end, broker.advertised_port);
        if (failure != std::errc() || stop != end || broker.advertised_port == 0) {
            refuse();
        }
    }
}

/// One batch is one commit at least, and one request.
void fit_commits(broker_options& broker) {
    log_options& log = broker.storage.log;
    log.max_commit_bytes = std::max(log.max_commit_bytes, log.max_batch_bytes);
    log.max_waiting_bytes = std::max(log.max_waiting_bytes, log.max_commit_bytes);
    log.max_read_bytes = std::max(log.max_read_bytes, log.max_batch_bytes);
}

void apply(command_line& line, const texts& text) {
    broker_options& broker = line.broker;
    broker.listen = net::address::parse(text.listen, text.port);
    if (broker.listen.port() == 0) {
        broker.listen.set_port(text.port);
    }
    broker.serve_admin = text.admin != "off";
    if (broker.serve_admin) {
        broker.admin = net::address::parse(text.admin, 9644);
        // Within one process they would share it, and each get some of the other's connections.
        if (broker.admin.port() != 0 && broker.admin.to_string() == broker.listen.to_string()) {
            throw CLI::ValidationError(
                "--admin", broker.admin.to_string() + " is where clients come, by --port");
        }
    }
    if (!text.advertise.empty()) {
        read_advertised(text.advertise, broker);
    }
    broker.frames.frame_time_max = seconds(text.frame_seconds);
    broker.frames.idle_max = seconds(text.idle_seconds);
    broker.server.connection.send_time_max = seconds(text.send_seconds);
    broker.send_time_in_want = seconds(text.send_seconds_in_want);
    broker.server.stop_grace = seconds(text.stop_grace_seconds);
    broker.storage.reopen.wait_max = seconds(text.reopen_seconds);
    broker.storage.log.mark_sync_wait_max = seconds(text.mark_sync_seconds);
    broker.storage.log.idle_max = seconds(text.log_idle_seconds);
    broker.open_wait_max = seconds(text.open_seconds);
    if (const auto level = log_level_of(text.log_level)) {
        line.run.host.logging.level = *level;
    } else {
        throw CLI::ValidationError("--log-level", "\"" + text.log_level + "\" is no level");
    }
    if (text.shards > 0) {
        line.run.placement.shards = text.shards;
    }
    line.run.host.name = "broker";
}

// What every process has.
constexpr std::uint64_t least_descriptors = 256;

/// A connection and a log file is a descriptor each: as many as we may have.
std::uint64_t descriptors() {
    rlimit files{};
    if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
        return least_descriptors;
    }
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);  // what it is, it is
    getrlimit(RLIMIT_NOFILE, &files);
    return files.rlim_cur;
}

/// What nobody said was fitted for as many shards as there are cores.
void fit_unsaid(const CLI::App& app, broker_options& broker, std::uint64_t files, unsigned shards) {
    broker_options fitted = broker;
    fitted.fit_to_descriptors(files, shards);
    const auto fit = [&app](const char* name, std::size_t& said, std::size_t fitting) {
        said = app[name]->count() > 0 ? said : fitting;
    };
    fit("--connections-max", broker.server.connections_max, fitted.server.connections_max);
    fit("--open-logs-max", broker.storage.open_logs_max, fitted.storage.open_logs_max);
    fit("--read-files-max", broker.storage.read_files_max, fitted.storage.read_files_max);
}

}  // namespace

command_line parse_command_line(int argc, char** argv) {
    command_line line;
    texts text;
    const std::uint64_t memory = usable_memory_bytes(cgroup_limits());
    const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
    line.broker.fit_to_memory(memory, cores);
    const std::uint64_t files = descriptors();
    line.broker.fit_to_descriptors(files, cores);
    CLI::App app(about, "weir-broker");
    app.footer(examples);
    app.set_config("--config", "", "A TOML file with these options");
    app.allow_config_extras(CLI::config_extras_mode::error);
    app.set_version_flag("--version", "weir broker 0.1.0");
    add_broker_options(app, line, text);
    add_durability(app, line);
    add_limits(app, line, text);
    add_machine_options(app, line, text);
    apps::check_numbers(app);
    try {
        app.parse(argc, argv);
        apply(line, text);
        fit_commits(line.broker);
        const unsigned shards =
            text.shards > 0 ? text.shards : std::max(1U, std::thread::hardware_concurrency());
        line.broker.check_memory(memory, shards);
        fit_unsaid(app, line.broker, files, shards);
        line.broker.check_descriptors(files, shards);
        // Threads that open batches are not among those that files wait for.
        line.run.blocking.threads += static_cast<unsigned>(line.broker.openings_at_once) * shards;
    } catch (const CLI::ParseError& e) {
        line.exit_code = app.exit(e);
    }
    return line;
}

}  // namespace weir::broker
