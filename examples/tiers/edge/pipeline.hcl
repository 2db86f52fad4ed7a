# Near each service: its log, and what waits while no collector can be reached. One file for all edges; the name of each is in a variable.

variable "name" {
  description = "Who this edge is: the name in its certificate, edge-1."
  type        = string
}

agent "edge" {
  id       = var.name # the origin of its events begins with it
  data_dir = "${var.name}/data"
  origin   = true # each event says what tells it from all others
}

source "file" "app" {
  into = channel.main
  config { paths = ["${var.name}/logs/*.log"] }
}

channel "wal" "main" {
  capacity = "1GiB"
}

# Each batch goes to one of both. Where one does not answer, the other gets what it was sent: so an event may come to both.
sink_group "collectors" {
  from    = channel.main
  members = [sink.first, sink.second]
  policy  = "load_balance"
}

sink "hop" "first" {
  tls = tls.hop
  config { address = "tls://127.0.0.1:7421" }
}

sink "hop" "second" {
  tls = tls.hop
  config { address = "tls://127.0.0.1:7422" }
}

tls "hop" {
  cert = "certs/${var.name}.pem"
  key  = "certs/${var.name}.key"
  ca   = "certs/ca.pem"
}
