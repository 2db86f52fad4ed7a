# Files that partners upload, each read once: events in a file of JSON, and what was read in a folder of its own.

agent "spool" {
  data_dir = "data"

  http {
    listen = "127.0.0.1:7420"
  }
}

source "spool" "uploads" {
  into = channel.main
  config {
    # Whoever uploads writes upload.tmp, or to another directory, and renames it when it is whole.
    path    = "uploads"
    include = ["*.csv", "*.log"]

    # The oldest first. Files that were read go to uploads/done, bad ones to uploads/bad, with the reason beside them.
    order = "time"
  }
}

channel "wal" "main" {
  capacity = "1GiB"
}

sink "file" "archive" {
  from = channel.main
  config {
    path   = "archive/uploads.jsonl"
    format = "json"
  }
}
