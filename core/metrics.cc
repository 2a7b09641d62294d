// SPDX-License-Identifier: Apache-2.0
#include <weir/core/metrics.hh>

#include <algorithm>
#include <utility>

#include <weir/core/assert.hh>
#include <weir/core/error.hh>

namespace weir {

namespace {

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_identifier(std::string_view text, bool colons) {
    if (text.empty() || is_digit(text.front())) {
        return false;
    }
    return std::all_of(text.begin(), text.end(), [colons](char c) {
        return is_letter(c) || is_digit(c) || (colons && c == ':');
    });
}

[[noreturn]] void refuse(const std::string& name, std::string_view why, errc cause) {
    throw error("register metric", name + " (" + std::string(why) + ")", cause);
}

std::string readable(const std::vector<metric_label>& labels) {
    std::string text;
    for (const metric_label& label : labels) {
        text += (text.empty() ? "" : ",") + label.name + "=" + label.value;
    }
    return "{" + text + "}";
}

// Sorts the labels, so that their order never makes two series of one.
void check(metric_kind kind, metric_description& description) {
    const std::string& name = description.name;
    if (!is_identifier(name, true)) {
        refuse(name, "a name is letters, digits, _ and :", errc::malformed);
    }
    if (kind == metric_kind::counter && !name.ends_with("_total")) {
        refuse(name, "a counter's name ends in _total", errc::malformed);
    }
    if (description.help.empty()) {
        refuse(name, "it has no help text", errc::malformed);
    }
    std::sort(description.labels.begin(), description.labels.end());
    for (std::size_t i = 0; i < description.labels.size(); ++i) {
        const std::string& label = description.labels[i].name;
        if (!is_identifier(label, false) || label.starts_with("__")) {
            refuse(name, "bad label name \"" + label + "\"", errc::malformed);
        }
        if (label == "shard" || (label == "le" && kind == metric_kind::histogram)) {
            refuse(name, "label \"" + label + "\" is reserved", errc::malformed);
        }
        if (i > 0 && description.labels[i - 1].name == label) {
            refuse(name, "label \"" + label + "\" is given twice", errc::malformed);
        }
    }
}

}  // namespace

metrics::~metrics() {
    WEIR_ASSERT(_series == 0);
}

metrics::registration metrics::counter(metric_description description, const std::uint64_t* field) {
    return add(metric_kind::counter, std::move(description), field);
}

metrics::registration metrics::gauge(metric_description description, const std::uint64_t* field) {
    return add(metric_kind::gauge, std::move(description), field);
}

metrics::registration metrics::gauge(metric_description description, std::function<double()> read) {
    return add(metric_kind::gauge, std::move(description), std::move(read));
}

metrics::registration metrics::histogram(metric_description description,
                                         const weir::histogram* field) {
    return add(metric_kind::histogram, std::move(description), field);
}

metrics::registration metrics::add(metric_kind kind, metric_description description, reader field) {
    check(kind, description);
    const std::string& name = description.name;
    if (_series >= _options.series_limit) {
        refuse(name, "series_limit is " + std::to_string(_options.series_limit),
               errc::limit_exceeded);
    }
    if (const auto known = _families.find(name); known != _families.end()) {
        family& other = known->second;
        if (other.kind != kind || other.help != description.help ||
            other.scale != description.scale) {
            refuse(name, "the name is taken with another kind, help or scale", errc::duplicate);
        }
        if (other.series.contains(description.labels)) {
            refuse(name, readable(description.labels) + " is registered", errc::duplicate);
        }
        other.series.emplace(description.labels, std::move(field));
    } else {
        // Whole before it is there: without memory for its series no family may stay.
        family made{.help = std::move(description.help), .kind = kind, .scale = description.scale};
        made.series.emplace(description.labels, std::move(field));
        _families.emplace(name, std::move(made));
    }
    ++_series;
    return {this, std::move(description.name), std::move(description.labels)};
}

void metrics::remove(const std::string& name, const std::vector<metric_label>& labels) noexcept {
    const auto home = _families.find(name);
    WEIR_ASSERT(home != _families.end() && home->second.series.erase(labels) == 1);
    --_series;
    if (home->second.series.empty()) {
        _families.erase(home);
    }
}

metrics_snapshot metrics::snapshot(unsigned shard) const {
    metrics_snapshot result{shard, {}};
    result.families.reserve(_families.size());
    for (const auto& [name, each] : _families) {
        metric_family copy{name, each.help, each.kind, each.scale, {}};
        copy.samples.reserve(each.series.size());
        for (const auto& [labels, field] : each.series) {
            metric_sample& sample = copy.samples.emplace_back(labels);
            if (const auto* number = std::get_if<const std::uint64_t*>(&field)) {
                sample.value = **number;
            } else if (const auto* read = std::get_if<std::function<double()>>(&field)) {
                sample.value = (*read)();
            } else {
                sample.value = std::get<const weir::histogram*>(field)->data();
            }
        }
        result.families.push_back(std::move(copy));
    }
    return result;
}

metrics::registration::registration(registration&& other) noexcept
    : _owner(std::exchange(other._owner, nullptr)),
      _name(std::move(other._name)),
      _labels(std::move(other._labels)) {}

metrics::registration& metrics::registration::operator=(registration&& other) noexcept {
    if (this != &other) {
        release();
        _owner = std::exchange(other._owner, nullptr);
        _name = std::move(other._name);
        _labels = std::move(other._labels);
    }
    return *this;
}

void metrics::registration::release() noexcept {
    if (metrics* owner = std::exchange(_owner, nullptr)) {
        owner->remove(_name, _labels);
    }
}

}  // namespace weir
