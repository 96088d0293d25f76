-- Posts signed requests as GitHub does: one body, and a delivery id of its own for each.
-- Arguments: signature, a number that no other run has, the file with the body.

local sequence, run = 0, ""
local headers = {
  ["Content-Type"] = "application/json", ["X-GitHub-Event"] = "issues", ["Accept"] = "*/*",
  ["User-Agent"] = "GitHub-Hookshot/044aadd", ["X-GitHub-Hook-ID"] = "292430182",
}

function init(arguments)
  headers["X-Hub-Signature-256"], run = arguments[1], arguments[2]
  local file = io.open(arguments[3], "rb")
  wrk.body = file:read("*a")
  file:close()
end

function request()
  sequence = sequence + 1
  headers["X-GitHub-Delivery"] = string.format("%08d-11ee-%s", sequence, run)
  return wrk.format("POST", nil, headers, wrk.body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"responses":%d,"refused":%d,"broken":%d,"timeouts":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
