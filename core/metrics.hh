// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include <weir/core/histogram.hh>

namespace weir {

enum class metric_kind : std::uint8_t { counter, gauge, histogram };

struct metric_label {
    std::string name;
    std::string value;

    friend bool operator==(const metric_label&, const metric_label&) = default;
    friend auto operator<=>(const metric_label&, const metric_label&) = default;
};

/// What a metric is called and what it means.
struct metric_description {
    std::string name;  ///< Prometheus form; base units; a counter ends in _total
    std::string help;  ///< one sentence; never empty
    std::vector<metric_label> labels{};
    /// Multiplies what is exported: a field in nanoseconds exports seconds with 1e-9.
    double scale = 1;
};

/// One series at one moment.
struct metric_sample {
    std::vector<metric_label> labels;  ///< sorted by name
    /// A counter, a gauge or a histogram, before scaling.
    std::variant<std::uint64_t, double, histogram_data> value;
};

/// All series of one name.
struct metric_family {
    std::string name;
    std::string help;
    metric_kind kind = metric_kind::counter;
    double scale = 1;
    std::vector<metric_sample> samples;  ///< sorted by labels
};

/// All metrics of a shard as plain data: no pointers, so that another shard can read it.
struct metrics_snapshot {
    std::optional<unsigned> shard;        ///< none: the sum of several
    std::vector<metric_family> families;  ///< sorted by name
};

struct metrics_options {
    /// Series that one registry holds; registering more fails.
    std::size_t series_limit = 10'000;
};

/// The metrics of one shard: it reads fields that live elsewhere, and only when asked, so that
/// counting stays a plain increment.
/// thread   the shard's
class metrics {
  public:
    class registration;

    explicit metrics(metrics_options options = {}) : _options(options) {}
    metrics(const metrics&) = delete;
    metrics& operator=(const metrics&) = delete;
    /// Every registration must have gone by now (asserted).
    ~metrics();

    /// Registers a field that only grows. The field outlives the registration.
    /// fails    weir::error: malformed (name, label or help), duplicate (same name and labels, or
    ///          the name with another kind, help or scale), limit_exceeded (series_limit)
    [[nodiscard]] registration counter(metric_description description, const std::uint64_t* field);
    /// Registers a field that goes up and down; fails as counter() does.
    [[nodiscard]] registration gauge(metric_description description, const std::uint64_t* field);
    /// Registers a callable that is asked at each snapshot; fails as counter() does.
    [[nodiscard]] registration gauge(metric_description description, std::function<double()> read);
    /// Registers a histogram; fails as counter() does.
    [[nodiscard]] registration histogram(metric_description description,
                                         const weir::histogram* field);

    /// cost     linear in the series; allocates
    metrics_snapshot snapshot(unsigned shard) const;
    std::size_t series() const noexcept { return _series; }

  private:
    using reader =
        std::variant<const std::uint64_t*, std::function<double()>, const weir::histogram*>;
    struct family {
        std::string help;
        metric_kind kind = metric_kind::counter;
        double scale = 1;
        std::map<std::vector<metric_label>, reader> series;
    };

    registration add(metric_kind kind, metric_description description, reader field);
    void remove(const std::string& name, const std::vector<metric_label>& labels) noexcept;

    metrics_options _options;
    std::size_t _series = 0;
    std::map<std::string, family> _families;
};

/// Keeps one series registered for as long as it lives; move-only.
class metrics::registration {
  public:
    registration() = default;
    registration(registration&& other) noexcept;
    registration& operator=(registration&& other) noexcept;
    ~registration() { release(); }

    /// Unregisters now; a second call does nothing.
    void release() noexcept;

  private:
    friend class metrics;
    registration(metrics* owner, std::string name, std::vector<metric_label> labels)
        : _owner(owner), _name(std::move(name)), _labels(std::move(labels)) {}

    metrics* _owner = nullptr;
    std::string _name;
    std::vector<metric_label> _labels;
};

/// Adds up the snapshots of many shards: counters, gauges and histograms of equal name and labels.
/// fails    weir::error duplicate when two shards give one name different kinds or scales
metrics_snapshot sum_of(std::span<const metrics_snapshot> snapshots);

/// Writes the Prometheus text format (0.0.4): HELP and TYPE once a name, a shard label on every
/// series of a snapshot that has a shard, a histogram's buckets at powers of two.
/// fails    as sum_of does
std::string prometheus_text(std::span<const metrics_snapshot> snapshots);

/// The content type that goes with prometheus_text.
inline constexpr std::string_view prometheus_content_type =
    "text/plain; version=0.0.4; charset=utf-8";

}  // namespace weir
