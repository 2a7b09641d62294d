// SPDX-License-Identifier: Apache-2.0
#include <broker/server/broker.hh>

#include <algorithm>
#include <new>
#include <ranges>
#include <utility>

#include <broker/server/connection.hh>
#include <broker/server/errand.hh>
#include <broker/server/request.hh>
#include <broker/server/route.hh>

#include <weir/core/call.hh>
#include <weir/core/coroutine.hh>
#include <weir/core/host.hh>
#include <weir/core/loop.hh>

namespace weir::broker {

using protocol::error_code;

namespace {

// Topics that only a broker may make: a client's request for one must not make it by accident.
constexpr std::string_view reserved_prefix = "__";

// Partitions of a new topic that come into being together: each needs syncs of its own.
constexpr std::size_t creations_at_once = 16;

}  // namespace

broker::broker(const broker_options& options, sharded<broker>* all)
    : _options(options),
      _all(all),
      _log(this_host().log_sink(), "broker", this_host().options().logging),
      _request_budget(options.request_budget()),
      _answers(options.answer_bytes),
      _openings(options.openings_at_once),
      _look_ups(options.look_ups_at_once) {
    register_metrics();
}

broker::~broker() = default;

future<> broker::open(std::vector<topic_entry> topics) {
    _returns.start();
    std::vector<topic_partition> own;
    for (const topic_entry& each : topics) {
        for (std::int32_t index = 0; index < each.partitions; ++index) {
            if (owner_of(each.name, index, this_host().shard_count()) == this_shard().id()) {
                own.push_back({each.name, index});
            }
        }
        _catalog.add(each.name, each.partitions);
        co_await maybe_yield();
    }
    _store = co_await store::open(_options.data_directory, _options.storage, std::move(own));
    if (this_shard().id() == 0) {
        _topics = std::move(topics);
    }
}

// All directories, then the list of what must be there, then the catalogs: what anybody is told
// of is listed, and what is listed was there.
future<> broker::make_topic(std::string topic, std::int32_t partitions) {
    co_await max_concurrent_for_each(
        std::views::iota(0, partitions), creations_at_once, [this, &topic](std::int32_t index) {
            const auto make = [made = topic_partition{topic, index}](broker& owner) {
                return owner._store->create(made).then([](const log* there) { return there; });
            };
            return route(*this, topic, index, make).then([](const log*) {});
        });
    // It is listed already where only a catalog was not reached the last time.
    const auto listed =
        std::ranges::find_if(_topics, [&](const topic_entry& each) { return each.name == topic; });
    if (listed == _topics.end()) {
        std::vector<topic_entry> topics = _topics;
        topics.push_back({topic, random_uuid(), partitions});
        co_await write_topics(_options.data_directory, topics);
        _topics = std::move(topics);
    } else {
        partitions = listed->partitions;
    }
    co_await on_all(
        [all = _all, topic, partitions] { all->local()._catalog.add(topic, partitions); });
}

future<> broker::listen(net::address at) {
    _server = co_await net::server::start(at, _options.server,
                                          [this](net::connection& socket) -> future<> {
                                              client_connection client(*this, socket);
                                              co_await client.serve();
                                          });
    const bool named = !_options.advertised_host.empty();
    _advertised_host = named ? _options.advertised_host : _server->where().host();
    _advertised_port =
        _options.advertised_port != 0 ? _options.advertised_port : _server->where().port();
}

future<> broker::stop_serving() {
    _progress.end_waits();
    if (_store) {
        _store->end_place_waits();
    }
    if (_server) {
        co_await _server->stop();
    }
}

future<> broker::end_calls() {
    co_await _returns.close();
    co_await _calls.close();
}

future<> broker::stop() {
    if (_store) {
        co_await _store->close();
    }
}

semaphore_units broker::try_admit(request& asked, std::size_t bytes) noexcept {
    semaphore_units there = _answers.try_take(bytes);
    if (!there && !asked.place) {
        asked.place = asked.from.reserved.try_acquire(1);
    }
    if (!there && asked.place) {
        there = _answers.try_take_reserved(bytes, bytes);
    }
    return there;
}

future<semaphore_units> broker::admit(request& asked, std::size_t bytes) {
    semaphore_units there = try_admit(asked, bytes);
    return there ? make_ready_future<semaphore_units>(std::move(there))
                 : wait_for_memory(bytes, asked.from.ended);
}

// Who only waits for records holds memory that somebody needs: those answer soon, and ask again.
future<semaphore_units> broker::wait_for_memory(std::size_t bytes, abort_source& ended) {
    _progress.hurry(least_patience);
    hurry_readers();
    return _answers.take(bytes, ended);
}

// Whoever still waits comes again within a long poll: telling them all now and then is enough.
void broker::hurry_readers() noexcept {
    const instant now = this_shard().now();
    if (_server != nullptr && now >= _hurried + least_patience) {
        _hurried = now;
        _server->hurry_sends(now + _options.send_time_in_want);
    }
}

log* broker::find(std::string_view topic, std::int32_t partition) const {
    return _store->find({std::string(topic), partition});
}

error_code broker::code_of_missing(std::string_view topic, std::int32_t partition) const {
    switch (_store->state({std::string(topic), partition})) {
        case partition_state::none:
            return error_code::unknown_topic_or_partition;
        case partition_state::quarantined:
            return error_code::kafka_storage_error;
        case partition_state::opening:
        case partition_state::ready:
            break;
    }
    return error_code::not_leader_or_follower;  // the client asks again
}

void broker::grown(const topic_partition& at) noexcept {
    for (const fetch_ticket ticket : _progress.grown(at)) {
        try {
            // Nobody waits for this call: a fetch that ended doesn't miss it.
            on(ticket.shard,
               [all = _all, number = ticket.number] { all->local().progress().called(number); })
                .then_wrapped([this, inside = _calls.hold()](future<> told) {
                    _counters.lost_calls += told.failed() ? 1 : 0;
                    std::move(told).ignore();
                })
                .ignore();
        } catch (const std::bad_alloc&) {
            ++_counters.lost_calls;
        }
    }
}

future<error_code> broker::create_topic(std::string name) {
    if (!is_topic_name(name) || name.starts_with(reserved_prefix)) {
        return make_ready_future<error_code>(error_code::invalid_topic_exception);
    }
    if (this_shard().id() == 0) {
        return create_topic_here(std::move(name));
    }
    return run_errand(*_all, 0, [name = std::move(name)](broker& first) {
        return first.create_topic_here(name);
    });
}

// On shard 0, one at a time.
future<error_code> broker::create_topic_here(std::string name) {
    const semaphore_units turn = co_await _creating.acquire();
    if (_catalog.find(name)) {
        co_return error_code::none;
    }
    const std::int32_t partitions = _options.default_partitions;
    if (_catalog.partitions() + partitions > _options.partitions_max) {
        ++_counters.topics_refused;
        _log.write(this_shard().log_context(), log_level::warning,
                   "topic refused: partitions-max would be exceeded", {{"topic", name}});
        co_return error_code::policy_violation;
    }
    try {
        co_await make_topic(name, partitions);
    } catch (...) {
        co_return code_of(std::current_exception());
    }
    ++_counters.topics_created;
    _log.write(this_shard().log_context(), log_level::info, "topic created",
               {{"topic", name}, {"partitions", partitions}});
    co_return error_code::none;
}

error_code broker::code_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const error& e) {
        if (e.is(errc::limit_exceeded)) {
            return error_code::message_too_large;
        }
        if (e.is(errc::overloaded) || e.is(errc::aborted)) {
            return error_code::request_timed_out;  // the client tries again
        }
        _log.write(this_shard().log_context(), log_level::error, "storage failed",
                   {{"cause", e.what()}});
        return e.is(errc::malformed) || e.is(errc::corrupt) ? error_code::corrupt_message
                                                            : error_code::kafka_storage_error;
    } catch (const std::bad_alloc&) {
        // No damage: the one word for "try again" that clients know in every answer.
        _log.write(this_shard().log_context(), log_level::warning, "no memory for a request");
        return error_code::kafka_storage_error;
    } catch (const std::exception& e) {
        _log.write(this_shard().log_context(), log_level::error, "request failed",
                   {{"cause", e.what()}});
        return error_code::unknown_server_error;
    }
}

void broker::count_bad_batch(const request& asked, const char* why) noexcept {
    ++_counters.bad_batches;
    tell_of(asked.from, &asked, "batch refused", why);
}

void broker::tell_of(const client& who, const request* asked, const char* message,
                     std::string_view detail) noexcept {
    constexpr std::size_t longest = 200;
    const auto cut = [](std::string_view text) { return text.substr(0, longest); };
    const log_context here = this_shard().log_context();
    if (asked == nullptr) {
        _log.write(here, log_level::warning, message,
                   {{"peer", who.peer}, {"software", who.software}, {"detail", cut(detail)}});
        return;
    }
    _log.write(here, log_level::warning, message,
               {{"peer", who.peer},
                {"api", protocol::kafka_name(asked->header.key)},
                {"version", asked->header.version},
                {"client", cut(asked->header.client_id.value_or(""))},
                {"software", who.software},
                {"detail", cut(detail)}});
}

// All series of a scrape are read in one turn: the logs are summed up once for them.
const log_metrics& broker::sum_of_logs() const {
    if (_store && _log_sum_turn != this_shard().counters().turns) {
        _log_sum_turn = this_shard().counters().turns;
        _log_sum = _store->metrics();
    }
    return _log_sum;
}

namespace {

struct log_gauge {
    const char* name;
    const char* help;
    std::uint64_t log_metrics::* field;
};

constexpr log_gauge of_logs[] = {
    {"weir_broker_log_rests", "Idle logs that were sealed and closed.", &log_metrics::rests},
    {"weir_broker_mark_syncs", "Times that the device was told what is acknowledged.",
     &log_metrics::mark_syncs},
    {"weir_broker_damaged_marks", "Marks of which what is acknowledged could not be told for sure.",
     &log_metrics::damaged_marks},
    {"weir_broker_unsynced_mark_bytes", "Bytes acknowledged since it was told.",
     &log_metrics::unsynced_mark_bytes},
    {"weir_broker_append_bytes", "Bytes appended.", &log_metrics::append_bytes},
    {"weir_broker_appends", "Batches appended.", &log_metrics::appends},
    {"weir_broker_commits", "Writes of data to the device.", &log_metrics::commits},
    {"weir_broker_commit_bytes", "Bytes of these writes.", &log_metrics::commit_bytes},
    {"weir_broker_tail_copies", "Copies of tail pages: see --tail-copy.",
     &log_metrics::tail_copies},
    {"weir_broker_restored_tails", "Tail pages that a start wrote again from their copy.",
     &log_metrics::restored_tails},
    {"weir_broker_waiting_bytes", "Bytes appended and not yet durable.",
     &log_metrics::waiting_bytes},
    {"weir_broker_appends_refused", "Appends beyond the limit of waiting bytes.",
     &log_metrics::appends_refused},
    {"weir_broker_log_stops", "Failed writes and syncs, each of which stopped a log.",
     &log_metrics::stops},
    {"weir_broker_recovered_bytes", "Bytes that starts and reopenings had to walk.",
     &log_metrics::recovered_bytes},
    {"weir_broker_recovery_read_bytes", "Bytes that they read of open logs for that.",
     &log_metrics::recovery_read_bytes},
    {"weir_broker_walked_later_bytes",
     "Bytes that starts left to the marks, and that were walked since.",
     &log_metrics::walked_later_bytes},
    {"weir_broker_damaged_batches", "Acknowledged batches that such a walk found damaged.",
     &log_metrics::damaged_batches},
    {"weir_broker_log_reopens", "Logs that took appends again after a stop.",
     &log_metrics::reopens},
    {"weir_broker_log_reopens_failed", "Tries to reopen a log that failed.",
     &log_metrics::reopens_failed},
    {"weir_broker_disk_read_bytes", "Bytes that fetches read from the device.",
     &log_metrics::disk_read_bytes},
    {"weir_broker_reads_ahead", "Reads of the device before anybody asked.",
     &log_metrics::reads_ahead},
    {"weir_broker_reads_ahead_dropped", "Of these, those that nobody came for.",
     &log_metrics::reads_ahead_dropped},
    {"weir_broker_index_loads", "Times that one was read.", &log_metrics::index_loads},
    {"weir_broker_damaged_indexes", "Of these, those that were made anew.",
     &log_metrics::damaged_indexes},
    {"weir_broker_damaged_reads", "Reads that found damage.", &log_metrics::damaged_reads},
};

}  // namespace

void broker::register_metrics() {
    const auto count = [this](const char* name, const char* help, const std::uint64_t& field) {
        _metrics.push_back(this_shard().metrics().counter({name, help}, &field));
    };
    const auto gauge = [this](const char* name, const char* help, std::function<double()> read) {
        _metrics.push_back(this_shard().metrics().gauge({name, help}, std::move(read)));
    };
    count("weir_broker_requests_total", "Requests of clients.", _counters.requests);
    count("weir_broker_refusals_total", "Connections closed for what they sent.",
          _counters.refusals);
    count("weir_broker_bad_batches_total", "Produced batches that were refused.",
          _counters.bad_batches);
    count("weir_broker_batches_opened_elsewhere_total",
          "Produced batches that a thread of the pool opened or looked at.",
          _counters.opened_elsewhere);
    count("weir_broker_batches_corrected_total",
          "Produced batches whose largest time was not their records'.",
          _counters.corrected_batches);
    count("weir_broker_fetch_waits_total", "Fetches that waited for records.",
          _counters.fetch_waits);
    count("weir_broker_answer_share_waits_total",
          "Fetches that waited until their connection had taken earlier answers.",
          _counters.share_waits);
    count("weir_broker_topics_created_total", "Topics created.", _counters.topics_created);
    count("weir_broker_topics_refused_total", "Topics that partitions-max left no room for.",
          _counters.topics_refused);
    count("weir_broker_lost_calls_total",
          "Fetches that were not told of news, for want of memory: they waited on.",
          _counters.lost_calls);
    if (this_shard().id() == 0) {
        gauge("weir_broker_partitions_limit", "Partitions that there may be, of all shards.",
              [this] { return static_cast<double>(_options.partitions_max); });
    }
    _times.register_metrics(_metrics);
    gauge("weir_broker_connections", "Open connections of clients.",
          [this] { return _server ? static_cast<double>(_server->open_connections()) : 0.0; });
    gauge("weir_broker_answer_bytes", "Bytes of fetched records on their way to clients.",
          [this] { return static_cast<double>(_answers.used()); });
    _request_budget.register_metrics("requests");
    gauge("weir_broker_request_bytes", "Bytes of requests under way.",
          [this] { return static_cast<double>(_request_budget.bytes_used()); });
    register_store_metrics();
}

void broker::register_store_metrics() {
    const auto gauge = [this](const char* name, const char* help, std::function<double()> read) {
        _metrics.push_back(this_shard().metrics().gauge({name, help}, std::move(read)));
    };
    for (const log_gauge& each : of_logs) {
        gauge(each.name, each.help,
              [this, field = each.field] { return static_cast<double>(sum_of_logs().*field); });
    }
    gauge("weir_broker_partitions", "Partitions of this shard.",
          [this] { return _store ? static_cast<double>(_store->ready()) : 0.0; });
    gauge("weir_broker_logs_opening", "Partitions that are not served yet.",
          [this] { return _store ? static_cast<double>(_store->opening()) : 0.0; });
    gauge("weir_broker_logs_quarantined",
          "Partitions that are damaged or lost, and left as they are.",
          [this] { return _store ? static_cast<double>(_store->quarantined()) : 0.0; });
    gauge("weir_broker_logs_open", "Partitions with a file open to append to.",
          [this] { return _store ? static_cast<double>(_store->open_logs()) : 0.0; });
    gauge("weir_broker_logs_stopped", "Logs that refuse appends until they are reopened.",
          [this] { return _store ? static_cast<double>(_store->stopped_logs()) : 0.0; });
    gauge("weir_broker_read_ahead_bytes", "Bytes read ahead that nobody has asked for yet.",
          [this] { return _store ? static_cast<double>(_store->read_ahead_bytes()) : 0.0; });
    gauge("weir_broker_index_bytes", "Indexes of sealed log files that are in memory.",
          [this] { return _store ? static_cast<double>(_store->index_bytes()) : 0.0; });
}

}  // namespace weir::broker
