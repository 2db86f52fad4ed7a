# Where all edges send to.

agent "collector" {
  data_dir = "collector/data"
}

source "hop" "edges" {
  into = channel.main
  tls  = tls.hop
  config {
    listen  = "tls://127.0.0.1:7421"
    clients = ["edge-*", "job"] # by the name in the certificate
  }
}

channel "wal" "main" {
  capacity = "1GiB"
}

sink "file" "archive" {
  from     = channel.main
  delivery = "exactly_once"
  config { path = "out/all.log" }
}

# Who shows no certificate of this authority does not get in.
tls "hop" {
  cert = "certs/collector.pem"
  key  = "certs/collector.key"
  ca   = "certs/ca.pem"
}
