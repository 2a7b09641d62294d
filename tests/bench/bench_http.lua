-- SPDX-License-Identifier: Apache-2.0
-- For wrk: as many requests at once as the argument says, and one line at the end for
-- bench_http.py.
function init(arguments)
  batch = string.rep(wrk.format("GET", "/"), tonumber(arguments[1]))
end

function request()
  return batch
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("weir %d %d %d %d\n", summary.requests, summary.duration,
    latency:percentile(50),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
