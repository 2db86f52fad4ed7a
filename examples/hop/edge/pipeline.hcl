# Near the service: its log, and what waits while the collector cannot be reached.

agent "edge-1" {
  data_dir = "edge/data"
}

source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}

channel "wal" "main" {
  capacity = "1GiB"
}

sink "hop" "collector" {
  from     = channel.main
  delivery = "exactly_once"
  tls      = tls.hop
  config { address = "tls://127.0.0.1:7421" }
}

# The name in the certificate is who this agent is to the collector.
tls "hop" {
  cert = "certs/edge-1.pem"
  key  = "certs/edge-1.key"
  ca   = "certs/ca.pem"
}
