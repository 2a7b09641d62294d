// SPDX-License-Identifier: Apache-2.0
#include <sim/broker_scenario.hh>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <numeric>
#include <stdexcept>

#include <broker/server/broker.hh>
#include <fmt/format.h>
#include <sim/broker_clients.hh>

namespace weir::broker::sim_test {

using namespace std::chrono_literals;
using io::sim::sim_host;

namespace {

constexpr std::uint16_t port = 9092;
constexpr const char* data_directory = "/data";

/// One run of the scenario.
class broker_run {
  public:
    broker_run(io::sim::world& world, std::unordered_set<std::string> canaries)
        : _world(world),
          _broker(world.add_host(options_of_broker(std::move(canaries)))),
          _options(draw_options()),
          _topics(draw_topics()),
          _truth(_broker, directories()),
          _load(draw_load()) {
        add_clients();
    }

    /// returns  what it met
    const statistics& run() {
        _broker.start([this](host& on) { return run_broker(on, _options, [](const auto&) {}); });
        harm();
        settle();
        _world.note(_truth.counts().acknowledged);
        _truth.counts().broker_starts = _broker.starts() - 1;
        return _truth.counts();
    }

  private:
    static host_options options_of_broker(std::unordered_set<std::string> canaries) {
        host_options options;
        options.name = "broker";
        options.shards = 2;
        options.canaries = std::move(canaries);
        return options;
    }

    broker_options draw_options() {
        auto& random = _world.random();
        broker_options options;
        options.listen = net::address::from(_broker.at(port));
        options.serve_admin = false;
        options.data_directory = data_directory;
        options.default_partitions = static_cast<std::int32_t>(random.between(1, 4));
        log_options& log = options.storage.log;
        log.segment_bytes = std::uint64_t{8 << 10} << random.below(4);
        log.zero_ahead_min_bytes = std::uint64_t{4 << 10} << random.below(3);
        log.zero_ahead_max_bytes = log.zero_ahead_min_bytes << random.below(3);
        log.max_batch_bytes = 16 << 10;
        log.max_commit_bytes = std::size_t{16 << 10} << random.below(2);
        log.max_waiting_bytes = 256 << 10;
        log.index_interval_bytes = 512;
        log.max_index_entries = 8;
        log.tail_copy = random.one_in(4);
        // Logs that a failed write stopped come back by themselves: nobody starts a broker for
        // that.
        options.storage.reopen.wait_min = duration(random.between(1'000'000, 100'000'000));
        options.storage.reopen.wait_max = 1s;
        log.mark_sync_wait_max = duration(random.between(1'000'000, 100'000'000));
        log.idle_max = duration(random.between(4'000'000, 400'000'000));
        options.storage.recent_bytes = std::size_t{1 << 10} << random.below(8);
        options.storage.read_ahead_bytes = std::size_t{4 << 10} << random.below(8);
        log.unzeroed_commit_bytes = std::size_t{1 << 10} << random.below(8);
        return options;
    }

    std::vector<std::string> draw_topics() {
        std::vector<std::string> topics;
        for (auto left = _world.random().between(1, 3); left > 0; --left) {
            topics.push_back(fmt::format("t{}", topics.size()));
        }
        return topics;
    }

    std::vector<std::string> directories() const {
        std::vector<std::string> all;
        for (const std::string& topic : _topics) {
            for (int i = 0; i < _options.default_partitions; ++i) {
                all.push_back(fmt::format("{}/{}-{}", data_directory, topic, i));
            }
        }
        return all;
    }

    workload draw_load() {
        auto& random = _world.random();
        workload load{.broker = _options.listen,
                      .topics = _topics,
                      .partitions_each = _options.default_partitions,
                      .truth = _truth};
        load.pause_max = duration(random.between(1'000'000, 60'000'000));
        load.burst_max = static_cast<unsigned>(random.between(1, 8));
        load.batch_max = static_cast<unsigned>(random.between(1, 4));
        // Few sizes, so that a new batch may end exactly where an old one ended.
        for (auto left = random.between(1, 4); left > 0; --left) {
            static constexpr std::uint32_t sizes[] = {8, 100, 200, 700, 2000, 3500};
            load.sizes.push_back(sizes[random.below(std::size(sizes))]);
        }
        load.fetch_bytes = std::int32_t{512} << random.below(8);
        return load;
    }

    void add_clients() {
        const auto producers = _world.random().between(1, 2);
        for (unsigned i = 0; i < producers; ++i) {
            auto& state = _load.producers.emplace_back();
            state.number = i;
            add_client("producer", [this, &state](host&) { return run_producer(_load, state); });
        }
        for (const bool audits : {false, true}) {
            auto& state = _consumers.emplace_back();
            state.audits = audits;
            state.positions.assign(static_cast<std::size_t>(_truth.partitions()), 0);
            if (audits) {
                state.goals = state.positions;
            }
            add_client(audits ? "auditor" : "consumer",
                       [this, &state](host&) { return run_consumer(_load, state); });
        }
    }

    void add_client(std::string_view name, io::sim::application program) {
        sim_host& client = _world.add_host(name, 1);
        _clients.push_back(&client);
        client.start(std::move(program));
    }

    /// The first phase: the broker ends in every way that there is.
    void harm() {
        auto& random = _world.random();
        const duration length = duration(random.between(1'000'000'000, 5'000'000'000));
        const instant end = _world.now() + length;
        while (_world.now() < end) {
            run_for(duration(random.between(5'000'000, 600'000'000)));
            const auto way = random.below(8);
            if (!_broker.running() || way == 7) {
                continue;
            }
            if (way == 6) {
                stop();
                continue;
            }
            if (random.one_in(2)) {
                run_until_busy();
            }
            if (!_broker.running()) {
                continue;
            }
            way < 4 ? _world.power_cut(_broker) : _world.kill(_broker);
            start_again(duration(random.between(1'000'000, 200'000'000)));
        }
    }

    /// Goes on to a moment when batches are on their way: there a cut finds writes half done.
    void run_until_busy() {
        const auto busy = [this] {
            return std::any_of(_load.producers.begin(), _load.producers.end(),
                               [](const auto& each) { return !each.on_the_way.empty(); });
        };
        _world.run_until(busy, 100ms);
        run_for(duration(_world.random().below(4'000'000)));
    }

    /// What is acknowledged, and read of it for the first time.
    std::int64_t progress() const {
        std::int64_t sum = 0;
        for (int i = 0; i < _truth.partitions(); ++i) {
            sum += _truth.acknowledged_end(i);
        }
        for (const consumer_state& each : _consumers) {
            sum += each.audits ? 0 : std::reduce(each.positions.begin(), each.positions.end());
        }
        return sum;
    }

    /// The second phase: no more harm, and whatever was promised comes true.
    void settle() {
        _world.stop_faults();
        _load.finishing = true;
        // One that asks for more than it may be given waits for as long as it said, each time.
        std::int64_t got = progress();
        instant end = _world.now() + 120s;
        while (!all_done() && _world.now() < end) {
            run_for(200ms);
            if (const std::int64_t now = progress(); now != got) {
                got = now;
                end = _world.now() + 120s;
            }
            if (!_broker.running() && !_broker.exited()) {
                start_again(duration(0));
            }
        }
        if (!all_done()) {
            std::string who;
            for (const sim_host* each : _clients) {
                who += each->exited() ? "" : " " + each->name();
            }
            throw std::runtime_error("after the harm these wait for ever:" + who);
        }
    }

    bool all_done() const {
        for (const sim_host* each : _clients) {
            if (!each->exited()) {
                return false;
            }
        }
        return true;
    }

    /// Lets time pass, and does for the broker what a service manager does.
    void run_for(duration time) {
        const instant end = _world.now() + time;
        while (_world.now() < end) {
            _world.run_until([this] { return !_truth.violation().empty() || _broker.exited(); },
                             end - _world.now());
            if (!_truth.violation().empty()) {
                throw std::runtime_error(_truth.violation());
            }
            for (const sim_host* each : _clients) {
                if (!each->failure().empty()) {
                    throw std::runtime_error("a client failed: " + each->failure());
                }
            }
            look_for_refused_logs();
            if (_broker.exited()) {
                ended();
            }
        }
    }

    /// No fault here spoils what was acknowledged, so a start that refuses a log is wrong; and
    /// clients that ask for that log would ask for ever.
    void look_for_refused_logs() const {
        for (const std::string& line : _broker.log()) {
            if (line.find("log quarantined") != std::string::npos) {
                throw std::runtime_error("a log does not start: " + line);
            }
        }
    }

    void ended() {
        const std::string& failure = _broker.failure();
        if (failure.find("damaged") != std::string::npos) {
            throw std::runtime_error("the broker does not start: " + failure);
        }
        if (!failure.empty() && _calm) {
            throw std::runtime_error("the broker failed without a fault: " + failure);
        }
        ++(failure.empty() ? _truth.counts().graceful_stops : _truth.counts().failed_starts);
        if (failure.empty() && !stopping()) {
            throw std::runtime_error("the broker ended by itself");
        }
        boot();
    }

    bool stopping() const { return _stopped_start == _broker.starts(); }

    void stop() {
        _stopped_start = _broker.starts();
        _world.stop(_broker);
        _world.after(30s, [this, start = _broker.starts()] {
            if (_broker.running() && _broker.starts() == start) {
                _truth.violate("the broker did not stop within 30 s");
            }
        });
    }

    void start_again(duration wait) {
        _world.after(wait, [this] {
            if (!_broker.running() && !_broker.exited()) {
                boot();
            }
        });
    }

    void boot() {
        _calm = !_world.faults().active();
        _world.restart(_broker);
    }

    io::sim::world& _world;
    sim_host& _broker;
    const broker_options _options;
    const std::vector<std::string> _topics;
    oracle _truth;
    workload _load;
    std::deque<consumer_state> _consumers;
    std::vector<sim_host*> _clients;
    unsigned _stopped_start = ~0U;  // the start that was asked to stop
    bool _calm = false;             // no faults since the broker started
};

}  // namespace

io::sim::world_options rough(std::uint64_t seed) {
    io::sim::world_options options = cuts_only(seed);
    options.faults = io::sim::fault_plan::swarm(seed);
    options.nemesis_period = 200ms;
    options.outage = {1ms, 1s};
    return options;
}

io::sim::world_options cuts_only(std::uint64_t seed) {
    io::sim::world_options options;
    // From a fast disk far away to a slow one nearby.
    options.disk.write.high = 300us * (std::uint64_t{1} << seed % 5);
    options.network.latency.high = 2000us / (std::uint64_t{1} << seed / 5 % 5);
    return options;
}

io::sim::scenario broker_scenario(statistics& counts, std::unordered_set<std::string> canaries) {
    return [&counts, canaries = std::move(canaries)](io::sim::world& world) {
        broker_run run(world, canaries);
        counts += run.run();
    };
}

}  // namespace weir::broker::sim_test
