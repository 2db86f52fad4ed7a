# Run them with: penstock test

test "events of many lines stay whole, in order, also while the archive fails" {
  input "service" {
    bodies = ["ERROR out of memory\n    at Shop.buy(Shop.java:42)", "INFO back"]
    repeat = 100
    batch  = 7
  }
  sink "archive" { fail = 3 }
  expect "sink.archive" {
    events   = 200
    contains = ["INFO back", "ERROR out of memory\n    at Shop.buy(Shop.java:42)"]
  }
}
