// SPDX-License-Identifier: Apache-2.0
// Files on the kernel's ring beside fio with the same job: 4 KiB O_DIRECT at random places of one
// file, and appends that are on the device when they return. One CPU each, in turn.
#include <weir/io/file.hh>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include <bench/fio.hh>
#include <bench/harness.hh>
#include <broker/protocol/record.hh>
#include <broker/storage/log.hh>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <weir/core/coroutine.hh>
#include <weir/io/run.hh>
#include <weir/io/system_clock.hh>

namespace weir::bench {
namespace {

constexpr std::size_t block = 4096;

class quiet final : public log_sink {
    void write(const log_line&) noexcept override {}
};

/// Where and on what everything runs.
struct setting {
    std::string directory;
    std::uint64_t file_bytes = 0;
    double seconds = 0;
    int cpu = 0;

    std::string data() const { return directory + "/random.dat"; }
    std::string journal() const { return directory + "/durable.dat"; }
    std::string buffered() const { return directory + "/fio-append.dat"; }
    std::string log() const { return directory + "/log"; }
    instant end() const {
        return io::monotonic_now() +
               std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
    }
};

/// Processor time of all threads of this process, those included that the kernel runs for its ring.
std::int64_t processor_ns() {
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    const auto ns = [](const timeval& time) {
        return std::int64_t{time.tv_sec} * 1'000'000'000 + std::int64_t{time.tv_usec} * 1000;
    };
    return ns(used.ru_utime) + ns(used.ru_stime);
}

struct figures {
    double per_second = 0;
    double p50_ns = 0;
    double p99_ns = 0;
    double mean_ns = 0;
    double cpu_ns_per_op = 0;
    double allocations = 0;
    double system_calls = 0;
};

/// Takes the time of operations, one by one and all together.
class stopwatch {
  public:
    stopwatch() {
        _latencies.reserve(1 << 20);
        _blocks = allocations().value_or(0);
        _entered = entered();
        _processor = processor_ns();
        _started = now_ns();
    }
    void count(std::int64_t asked) { _latencies.push_back(static_cast<double>(now_ns() - asked)); }

    figures result() {
        const auto wall = static_cast<double>(now_ns() - _started);
        const auto processor = static_cast<double>(processor_ns() - _processor);
        const auto blocks = static_cast<double>(allocations().value_or(0) - _blocks);
        const auto calls = static_cast<double>(entered() - _entered);
        const auto operations = static_cast<double>(_latencies.size());
        if (_latencies.empty()) {
            throw std::runtime_error("no operation ended in time");
        }
        return {.per_second = operations * 1e9 / wall,
                .p50_ns = percentile(0.50),
                .p99_ns = percentile(0.99),
                .mean_ns = wall / operations,
                .cpu_ns_per_op = processor / operations,
                .allocations = blocks / operations,
                .system_calls = calls / operations};
    }

  private:
    static std::uint64_t entered() {
        return static_cast<io::uring&>(this_shard().outside()).statistics().enters;
    }
    double percentile(double part) {
        const auto place = static_cast<std::size_t>(part * static_cast<double>(_latencies.size()));
        const auto at = _latencies.begin() +
                        static_cast<std::ptrdiff_t>(std::min(place, _latencies.size() - 1));
        std::nth_element(_latencies.begin(), at, _latencies.end());
        return *at;
    }

    std::vector<double> _latencies;
    std::uint64_t _blocks;
    std::uint64_t _entered;
    std::int64_t _processor;
    std::int64_t _started;
};

/// Runs `body` on a host of one shard.
figures on_shard(const setting& where, bool spins, const std::function<future<figures>()>& body) {
    quiet log;
    io::run_options options;
    options.placement.shards = 1;
    options.placement.cpus = {static_cast<unsigned>(where.cpu)};
    options.placement.use_smt = true;
    options.host.log = &log;
    if (!spins) {
        options.host.shard.spin_max = {};
    }
    options.handle_signals = false;
    figures result;
    std::string problem;
    io::run(options, [&](host&) -> future<> {
        try {
            result = co_await body();
        } catch (const std::exception& failure) {
            problem = failure.what();
        }
    });
    if (!problem.empty()) {
        throw std::runtime_error(problem);
    }
    return result;
}

/// Makes a file of zeros that are on the device, or takes the one that is there.
future<> make_file(std::string path, std::uint64_t bytes) {
    io::file out = co_await io::file::open(
        path, {.mode = io::op::access::read_write, .create = true, .direct = true});
    const io::aligned_buffer zeros(std::size_t{1} << 20);
    for (std::uint64_t at = co_await out.size(); at < bytes; at += zeros.size()) {
        co_await out.write(at, zeros.span());
    }
    co_await out.sync(true);
    co_await out.close();
}

future<> worker(io::file& file, bool writes, const setting& where, instant end, stopwatch& time) {
    io::aligned_buffer memory(block);
    while (io::monotonic_now() < end) {
        const std::uint64_t at = this_shard().random() % (where.file_bytes / block) * block;
        const std::int64_t asked = now_ns();
        if (writes) {
            co_await file.write(at, std::span<const std::byte>(memory.span()));
        } else {
            co_await file.read(at, memory.span());
        }
        time.count(asked);
    }
}

future<figures> random_places(const setting& where, bool writes, unsigned depth) {
    io::file file =
        co_await io::file::open(where.data(), {.mode = io::op::access::read_write, .direct = true});
    const instant end = where.end();
    stopwatch time;
    std::vector<future<>> workers;
    for (unsigned i = 0; i < depth; ++i) {
        workers.push_back(worker(file, writes, where, end, time));
    }
    for (auto& each : workers) {
        co_await std::move(each);
    }
    const figures found = time.result();
    co_await file.close();
    co_return found;
}

/// As the broker's log does it: into space that was zeroed ahead, one write with O_DSYNC each.
future<figures> durable_writes(const setting& where) {
    constexpr std::uint64_t ahead = std::uint64_t{64} << 20;
    co_await make_file(where.journal(), ahead);
    io::file file = co_await io::file::open(
        where.journal(), {.mode = io::op::access::read_write, .direct = true, .data_sync = true});
    const io::aligned_buffer memory(block);
    const instant end = where.end();
    stopwatch time;
    for (std::uint64_t at = 0; io::monotonic_now() < end; at = (at + block) % ahead) {
        const std::int64_t asked = now_ns();
        co_await file.write(at, memory.span());
        time.count(asked);
    }
    const figures found = time.result();
    co_await file.close();
    co_return found;
}

std::vector<std::byte> batch_of_a_block() {
    constexpr std::size_t headers = 80;
    const std::vector<std::byte> value(block - headers, std::byte{0x5a});
    broker::protocol::batch_builder builder;
    builder.add(1000, std::nullopt, value);
    return std::move(builder).build();
}

/// The log itself: batch headers, offsets, index and zeroing ahead included.
future<figures> log_appends(const setting& where) {
    co_await io::make_directories(where.log());
    broker::recent_memory recent(std::size_t{1} << 20);
    auto log = co_await broker::log::open(where.log(), {}, recent);
    const std::vector<std::byte> batch = batch_of_a_block();
    co_await log->append(batch);  // opens and zeroes
    const instant end = where.end();
    stopwatch time;
    while (io::monotonic_now() < end) {
        const std::int64_t asked = now_ns();
        co_await log->append(batch);
        time.count(asked);
    }
    const figures found = time.result();
    co_await log->close();
    co_return found;
}

/// The rows of one job, with or without a column for fio.
struct job_rows {
    job_rows(report& out, const std::string& name, bool whole)
        : rate(out.add(name + ".rate", "per_s", better::higher, "fio")),
          cpu(out.add(name + ".cpu", "ns", better::lower, "fio")) {
        if (whole) {
            p50 = &out.add(name + ".p50", "ns", better::lower, "fio");
            p99 = &out.add(name + ".p99", "ns", better::lower, "fio");
        }
    }
    void ours(const figures& found) {
        rate.ours(found.per_second);
        cpu.ours(found.cpu_ns_per_op);
        rate.allocs_per_op = found.allocations;
        rate.syscalls_per_op = found.system_calls;
        if (p50 != nullptr) {
            p50->ours(found.p50_ns);
            p99->ours(found.p99_ns);
        }
    }
    void peer(const fio_figures& found) {
        rate.peer(found.per_second);
        cpu.peer(found.cpu_ns_per_op);
        if (p50 != nullptr) {
            p50->peer(found.p50_ns);
            p99->peer(found.p99_ns);
        }
    }
    row& rate;
    row& cpu;
    row* p50 = nullptr;
    row* p99 = nullptr;
};

void add_random(report& out, const setting& where, bool writes, unsigned depth) {
    const std::string name = fmt::format("file.{}.{}", writes ? "write" : "read", depth);
    if (!out.wanted(name)) {
        return;
    }
    job_rows spinning(out, name, true);
    job_rows sleeping(out, name + "_sleeping", false);
    const std::string job = fmt::format(
        "--filename='{}' --ioengine=io_uring --direct=1 --rw={} --norandommap --randrepeat=0 "
        "--iodepth={} --size={}",
        where.data(), writes ? "randwrite" : "randread", depth, where.file_bytes);
    const auto ours = [&](job_rows& rows, bool spins) {
        rows.ours(on_shard(where, spins, [&] { return random_places(where, writes, depth); }));
    };
    out.alternate(
        [&] {
            ours(spinning, true);
            ours(sleeping, false);
        },
        [&] {
            if (const auto found = run_fio(job, where.seconds, where.cpu)) {
                spinning.peer(*found);
                sleeping.peer(*found);
            }
        });
}

void add_append(report& out, const setting& where) {
    if (!out.wanted("file.append")) {
        return;
    }
    const char* const peer = "fio, buffered + fdatasync";
    row& direct = out.add("file.append.durable.time", "ns", better::lower, peer);
    row& direct_p50 = out.add("file.append.durable.p50", "ns", better::lower);
    row& log = out.add("file.append.log.time", "ns", better::lower, peer);
    row& log_p50 = out.add("file.append.log.p50", "ns", better::lower);
    const auto ours = [](row& mean, row& p50, const figures& found) {
        mean.ours(found.mean_ns);
        mean.allocs_per_op = found.allocations;
        mean.syscalls_per_op = found.system_calls;
        p50.ours(found.p50_ns);
    };
    const std::string job = fmt::format(
        "--filename='{}' --ioengine=psync --rw=write --fdatasync=1 --fallocate=none "
        "--create_on_open=1 --size={}",
        where.buffered(), where.file_bytes);
    std::filesystem::remove_all(where.log());
    out.alternate(
        [&] {
            ours(direct, direct_p50, on_shard(where, true, [&] { return durable_writes(where); }));
            ours(log, log_p50, on_shard(where, true, [&] { return log_appends(where); }));
        },
        [&] {
            ::unlink(where.buffered().c_str());  // so that the file grows
            if (const auto found = run_fio(job, where.seconds, where.cpu)) {
                direct.peer(found->mean_ns);
                log.peer(found->mean_ns);
            }
        });
}

int run(int argc, char** argv) {
    report out("file", "4 KiB of files, and durable appends, beside fio with the same job.");
    std::string directory = "./weir-bench-file";
    std::string megabytes = "1024";
    out.option("--directory", directory, "where the files go; they are kept for the next run");
    out.option("--megabytes", megabytes, "size of the file for random places");
    if (auto status = out.parse(argc, argv)) {
        return *status;
    }
    std::uint64_t size = 0;
    const auto parsed =
        std::from_chars(megabytes.data(), megabytes.data() + megabytes.size(), size);
    if (parsed.ec != std::errc() || size == 0 || directory.find('\'') != std::string::npos) {
        fmt::print(stderr, "file: --megabytes wants a number, --directory no quotes\n");
        return 2;
    }
    const setting where{directory, size << 20, out.seconds(), allowed_cpus().front()};
    on_shard(where, true, [&]() -> future<figures> {
        co_await io::make_directories(where.directory);
        co_await make_file(where.data(), where.file_bytes);
        co_return figures{};
    });
    for (const bool writes : {false, true}) {
        for (const unsigned depth : {1U, 32U, 128U}) {
            add_random(out, where, writes, depth);
        }
    }
    add_append(out, where);
    out.note(
        "cpu: processor time of an operation, ours of the whole process, fio's as its worker "
        "reports it. sleeping: spin_max 0, the shard sleeps as soon as nothing is ready.");
    out.note(
        "append.durable: O_DIRECT|O_DSYNC into zeroed space; append.log: the broker's log, "
        "one batch of 4 KiB at a time. time: wall time over operations.");
    return out.finish();
}

}  // namespace
}  // namespace weir::bench

int main(int argc, char** argv) {
    return weir::bench::run(argc, argv);
}
