# Run them with: penstock test

test "readings become JSON, also while the disk is full for a while" {
  input "readings" { file = "today.csv" }
  sink "readings" { fail = 2 }
  expect "sink.readings" {
    bodies = [
      "{\"time\":\"2026-11-26T16:00:00Z\",\"sensor\":\"roof, \\\"north\\\"\",\"celsius\":21}",
      "{\"time\":\"\",\"sensor\":\"007\",\"celsius\":-3}",
    ]
  }
}

test "the file has a line each" {
  input "readings" { bodies = [",roof,1"] }
  sink "readings" { stored = "out/readings.json" }
  expect "sink.readings" { bodies = ["{\"time\":\"\",\"sensor\":\"roof\",\"celsius\":1}"] }
}
