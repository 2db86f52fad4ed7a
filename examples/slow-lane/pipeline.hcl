agent "slow-lane" {
  data_dir = "data"
}

source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

# What is slow, or may be down for days, has a channel of its own: larger, and on the disk compressed.
channel "wal" "slow" {
  capacity    = "1GiB"
  compression = "zstd"
}

sink "file" "near" {
  from = channel.main
  config { path = "out/near.log" }
}

# The relay puts what it takes into that channel, each event once.
sink "channel" "over" {
  from  = channel.main
  into  = channel.slow
  where = !startswith(event.body, "DEBUG")
}

sink "file" "far" {
  from     = channel.slow
  delivery = "exactly_once"
  config { path = "out/far.log" }
}
