# Run them with: penstock test

test "hooks are archived as JSON, with their time and headers" {
  input "hooks" {
    bodies     = ["{\"order\": 17}"]
    attributes = { "user-agent" = "curl" }
    time       = "2026-11-26T16:00:00Z"
  }
  sink "archive" { stored = "archive/hooks.log" }
  expect "sink.archive" {
    bodies = ["{\"time\":\"2026-11-26T16:00:00Z\",\"attributes\":{\"user-agent\":\"curl\"},\"body\":\"{\\\"order\\\": 17}\"}"]
  }
}
