# Lines that come in over TCP, in a file.

agent "tcp-lines" {
  data_dir = "data"
}

plugin "tcp-lines" {
  source = "./tcp-lines.wasm"
  grant {
    listen "listen" {
      address = "tcp://127.0.0.1:5170"
    }
  }
}

source "tcp-lines" "in" {
  into = channel.lines
  config {
    listen = "tcp://127.0.0.1:5170"
  }
}

channel "wal" "lines" {
}

sink "file" "out" {
  from = channel.lines
  config {
    path = "out/lines.log"
  }
}
