# Run them with: penstock test

test "each line is of one level, and of all teams that it is about" {
  input "app" {
    bodies = ["ERROR order 7 has no invoice", "INFO order 8", "DEBUG invoice 9", "INFO started", "ERRORS: none"]
  }
  expect "sink.errors" { bodies = ["ERROR order 7 has no invoice"] }
  expect "sink.noise" { bodies = ["DEBUG invoice 9"] }
  expect "sink.rest" { bodies = ["INFO order 8", "INFO started", "ERRORS: none"] }
  expect "sink.shop" { bodies = ["ERROR order 7 has no invoice", "INFO order 8"] }

  # A case, before the sink's own where; and what is of no case.
  expect "route.by_team.billing" { bodies = ["ERROR order 7 has no invoice", "DEBUG invoice 9"] }
  expect "sink.billing" { bodies = ["ERROR order 7 has no invoice"] }
  expect "route.by_team" { bodies = ["INFO started", "ERRORS: none"] }
  expect "sink.all" { events = 5 }
}

test "a sink that is down holds up no other" {
  input "app" {
    bodies = ["ERROR order 7", "INFO order 8"]
  }
  sink "errors" { down = true }
  expect "sink.errors" {
    events = 0
    state  = "retrying"
  }
  expect "sink.rest" { bodies = ["INFO order 8"] }
  expect "sink.shop" { bodies = ["ERROR order 7", "INFO order 8"] }
}

test "the plugin of a sink stores what is of its case" {
  input "app" {
    bodies = ["ERROR one", "INFO two"]
  }
  sink "errors" { stored = "out/errors.log" }
  expect "sink.errors" { bodies = ["ERROR one"] }
}
