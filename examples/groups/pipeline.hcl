agent "groups" {
  data_dir = "data"
}

source "file" "orders" {
  into = channel.main
  config { paths = ["in/*.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

# Each order goes to one of the two. The first has all as long as it works.
sink_group "orders" {
  from    = channel.main
  where   = startswith(event.body, "order")
  members = [sink.first, sink.second]
  policy  = "failover"

  # What may have arrived at one, and nobody knows, waits for that one: it is never at both. The plugins of the members know what they hold.
  delivery = "exactly_once"

  failover {
    cool_down     = "1s"
    max_cool_down = "30s"
    fail_back     = "10s"
  }
}

# The directory of a member stands for a machine: without it, the member is down.
sink "file" "first" {
  config {
    path        = "first/orders.log"
    rotate_size = "1KiB"
  }
}

sink "file" "second" {
  config { path = "second/orders.log" }
}

# Three that share the same lines. A reader has everything; its members have a part each.
sink_group "pages" {
  from    = channel.main
  where   = startswith(event.body, "page")
  members = [sink.a, sink.b, sink.c]
  policy  = "load_balance"

  load_balance {
    select = "least_pending"
  }
}

sink "file" "a" {
  config { path = "out/a.log" }
}

sink "file" "b" {
  config { path = "out/b.log" }
}

sink "file" "c" {
  config { path = "out/c.log" }
}
