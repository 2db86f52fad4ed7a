test "the far end gets all but debug lines, over two channels" {
  input "app" {
    bodies = ["INFO one", "DEBUG two", "ERROR three"]
  }
  expect "sink.near" {
    bodies = ["INFO one", "DEBUG two", "ERROR three"]
  }
  expect "channel.slow" {
    bodies = ["INFO one", "ERROR three"]
  }
  expect "sink.far" {
    bodies = ["INFO one", "ERROR three"]
  }
}
