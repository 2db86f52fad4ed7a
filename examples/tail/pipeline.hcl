# The logs of a service, each event exactly once, in a file that rotates by itself.

agent "tail" {
  data_dir = "data"

  http {
    listen = "127.0.0.1:7420"
  }
}

source "file" "service" {
  into = channel.logs
  config {
    # A glob grants the directory before its first wildcard, to read. There a file that was rotated away while
    # the agent was down is found again by what it is, whatever its new name.
    paths = ["logs/*.log"]

    # A line that begins with a blank belongs to the event before it: stack traces stay whole.
    multiline = {
      pattern = "^\\S"
    }
  }
}

# While the sink cannot write, the channel takes in up to this much; then it makes the source wait, and the log
# itself is the buffer.
channel "wal" "logs" {
  capacity = "1GiB"
  on_full  = "block"
}

sink "file" "archive" {
  from = channel.logs

  batch {
    events = 4096
    wait   = "200ms"
  }

  config {
    path        = "archive/service.log"
    rotate_size = "256MiB"
    rotate_keep = 7
  }
}
