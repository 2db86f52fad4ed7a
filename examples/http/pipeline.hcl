# Events by HTTP, in a file: what was answered with 200 is on disk.

agent "hooks" {
  data_dir = "data"

  http {
    listen = "127.0.0.1:7420"
  }
}

source "http" "hooks" {
  into = channel.main
  config {
    listen = "127.0.0.1:8080"

    # A body is an array, each element of which becomes an event; or one value. "ndjson" takes a document a line, "lines" anything.
    format = "json"

    # These headers of a request go with its events.
    headers = ["user-agent"]
  }
}

# While the sink cannot write, the channel takes in this much; then clients are told 503 and when to come again.
channel "wal" "main" {
  capacity = "1GiB"
}

sink "file" "archive" {
  from = channel.main
  config {
    path   = "archive/hooks.log"
    format = "json"
  }
}
