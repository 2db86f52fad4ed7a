# A log that is being written → a durable channel → the screen and a file.

agent "quickstart" {
  data_dir = "data"
}

# Follows every *.log in logs/, through rotation, from where it was when it last stopped.
source "file" "app" {
  into = channel.main
  config {
    paths = ["logs/*.log"]
  }
}

# A transaction is on disk before the source's position moves. A full channel makes the source wait.
channel "wal" "main" {
  capacity = "256MiB"
}

# Each sink sees every event, at its own pace.
sink "stdout" "screen" {
  from = channel.main
}

sink "file" "copy" {
  from = channel.main
  config {
    path = "out/app.log"
  }
}
