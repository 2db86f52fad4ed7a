# What all edges send to: two of them, so that one may be down. Nobody else connects to the database, and each does so four times at most.

variable "name" {
  description = "Who this collector is: the name in its certificate, collector-1."
  type        = string
}

variable "port" {
  description = "Where it listens."
  type        = integer
  default     = 7421
}

agent "collector" {
  id       = var.name
  data_dir = "${var.name}/data"
}

source "hop" "edges" {
  into = channel.main
  tls  = tls.hop
  config {
    listen  = "tls://127.0.0.1:${var.port}"
    clients = ["edge-*"] # by the name in the certificate
  }
}

channel "wal" "main" {
  capacity = "10GiB" # for hours without the database
}

# An event that has come before, through the other collector or this one, is in the table already, and is passed over.
sink "postgres" "events" {
  from        = channel.main
  order       = "none"
  connections = 4
  batch {
    events = 5000
    wait   = "100ms"
  }
  config {
    host     = "/var/run/postgresql"
    database = "events"
    user     = "penstock"
    table    = "events"
    columns = {
      stream = "attributes.origin.stream"
      number = "attributes.origin.number"
      at     = "time"
      line   = "body"
    }
    key         = ["stream", "number"]
    on_conflict = "ignore"
  }
}

tls "hop" {
  cert = "certs/${var.name}.pem"
  key  = "certs/${var.name}.key"
  ca   = "certs/ca.pem"
}
