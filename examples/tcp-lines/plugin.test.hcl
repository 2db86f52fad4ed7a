# How `penstock plugin test` tries the plugin.
source "tcp-lines" "takes lines of several" {
  config {
    listen = "tcp://127.0.0.1:5170"
  }
  client "listen" {
    send = ["one\r\ntwo\n\nthr", "ee\n"]
  }
  client "listen" {
    send = ["the last has no newline"]
  }
  client "listen" {
    send = []
  }
  output = ["one", "two", "", "three", "the last has no newline"]
}

sink "tcp-lines" "sends lines" {
  config {
    address = "tcp://127.0.0.1:5171"
  }
  server "address" {}
}
