# Run them with: penstock test

test "lines are archived as JSON, with the file that they came from" {
  input "uploads" {
    bodies     = ["1;apples"]
    attributes = { "file.path" = "uploads/orders.csv", "file.position" = "0" }
  }
  sink "archive" { stored = "archive/uploads.jsonl" }
  expect "sink.archive" {
    bodies = ["{\"time\":\"2026-01-01T00:00:00Z\",\"attributes\":{\"file.path\":\"uploads/orders.csv\",\"file.position\":\"0\"},\"body\":\"1;apples\"}"]
  }
}
