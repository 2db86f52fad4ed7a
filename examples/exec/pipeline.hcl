# Two commands: one that is run once in a while and prints JSON, one that runs on and prints a line now and then.

agent "exec" {
  data_dir = "data"
}

source "exec" "processors" {
  into = channel.main
  config {
    command    = ["lscpu", "--json"]
    interval   = "5s"
    timeout    = "10s"
    event      = "run"
    on_failure = "event"
    read       = ["/proc/", "/sys/"]
  }
}

source "exec" "probe" {
  into = channel.main
  config {
    command = ["./probes/uptime.sh", "1"]
    read    = ["/proc/"]
  }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "file" "log" {
  from = channel.main
  config {
    path   = "out/events"
    format = "json"
  }
}
