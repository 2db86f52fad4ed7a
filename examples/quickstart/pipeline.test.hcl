# Run them with: penstock test

test "a copy that fails for a while gets every line, and does not hold up the screen" {
  input "app" {
    bodies = ["one", "two", "three"]
    batch  = 1
  }
  sink "copy" { fail = 5 }
  expect "sink.screen" { bodies = ["one", "two", "three"] }
  expect "sink.copy" { bodies = ["one", "two", "three"] }
}

test "a copy that is down does not hold up the screen" {
  input "app" { bodies = ["one", "two"] }
  sink "copy" { down = true }
  expect "sink.screen" { bodies = ["one", "two"] }
  expect "sink.copy" { state = "retrying" }
}
