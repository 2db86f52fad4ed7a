# Orders in JSON, one a line. What is no order does not stop the others: it is set aside with the reason, and waits until someone decides.

agent "dead-letters" {
  data_dir = "data"

  http {
    listen = "127.0.0.1:7420"
  }
}

source "file" "orders" {
  into = channel.main

  # Before they are kept: fields become attributes, and what nobody may see is masked.
  through = [processor.parse, processor.mask]

  config {
    paths = ["in/*.json"]
  }
}

processor "json" "parse" {
  # "stop", the default, would hold the source at the first line that is no JSON. Nothing would be lost, nor go on.
  on_error = "dead_letter"

  config {
    fields = {
      customer = "customer.name"
      amount   = "amount"
    }
    prefix = "order."
  }
}

processor "mask" "mask" {
  config {
    pattern     = "[0-9]{12}([0-9]{4})"
    replacement = "************$1"
  }
}

channel "wal" "main" {
  capacity    = "1GiB"
  dead_letter = channel.rejected
}

# It needs no sink. When it is full, what has dead letters waits: none is lost for want of a place.
channel "wal" "rejected" {
  capacity = "256MiB"
}

sink "file" "archive" {
  from = channel.main

  config {
    path   = "out/orders.jsonl"
    format = "json"
  }
}
