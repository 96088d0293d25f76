-- Publishes unique events of random types, one or many per request.
-- Arguments: number of types, events per request, API key, seed.

local types, events, sequence, seed
local headers = {}

-- With the type and the numbers filled in, a request with one event has about 450 bytes.
local event = '{"type":"bench.%d","data":{"sequence":%d,"run":%d,"object":"invoice","amount":%d,"currency":"EUR",'
  .. '"customer":{"id":"cus_%08d","name":"Example Trading Company","email":"billing@example.org","country":"NL"},'
  .. '"lines":[{"sku":"A-1000","quantity":2,"price":1250},{"sku":"B-2000","quantity":1,"price":4999}],'
  .. '"status":"paid","note":"Thank you for your order. It is on its way and will be with you within two days."}}'

function init(arguments)
  types, events = tonumber(arguments[1]), tonumber(arguments[2])
  seed, sequence = tonumber(arguments[4]), 0
  math.randomseed(seed)
  headers["Authorization"] = "Bearer " .. arguments[3]
  headers["Content-Type"] = "application/json"
end

local function next_event()
  sequence = sequence + 1
  return event:format(math.random(0, types - 1), sequence, seed, math.random(100, 99999), sequence % 100000000)
end

function request()
  if events == 1 then
    return wrk.format("POST", "/v1/events", headers, next_event())
  end
  local parts = {}
  for position = 1, events do
    parts[position] = next_event()
  end
  return wrk.format("POST", "/v1/events/batch", headers, '{"events":[' .. table.concat(parts, ",") .. "]}")
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"responses":%d,"refused":%d,"broken":%d,"timeouts":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
