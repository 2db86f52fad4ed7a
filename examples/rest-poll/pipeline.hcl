# SPDX-License-Identifier: Apache-2.0
agent "shop" {
  data_dir = "data"
}

plugin "rest-poll" {
  source  = "./rest-poll"
  runtime = "subprocess"
  grant {
    network = true
    http "url" {
      url = "http://127.0.0.1:8437/orders"
    }
  }
}

source "rest-poll" "orders" {
  into = channel.main
  config {
    url   = "http://127.0.0.1:8437/orders"
    items = "orders"
    every = "100ms"
  }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "file" "orders" {
  from = channel.main
  config {
    path = "out/orders.json"
  }
}
