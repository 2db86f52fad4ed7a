# The lines of a log, posted to a URL.

agent "http-sink" {
  data_dir = "data"
}

plugin "http-sink" {
  source = "./http-sink.wasm"
  grant {
    http "url" {
      url = "http://127.0.0.1:5180/ingest"
    }
  }
}

source "file" "log" {
  into = channel.main
  config {
    paths = ["logs/*.log"]
  }
}

channel "wal" "main" {
}

sink "http-sink" "out" {
  from = channel.main
  config {
    url = "http://127.0.0.1:5180/ingest"
  }
}
