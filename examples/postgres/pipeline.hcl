# Orders, a line of JSON each, become rows of a table: each once, also when the agent, the plugin or the server is killed.

source "file" "orders" {
  into = channel.main
  config { paths = ["/var/log/shop/orders.json"] }
}

channel "wal" "main" {
  dead_letter = channel.rejected
}

channel "wal" "rejected" {
  capacity = "1GiB"
}

sink "postgres" "orders" {
  from        = channel.main
  order       = "none"
  connections = 2
  config {
    host     = "/var/run/postgresql"
    database = "shop"
    user     = "penstock"
    table    = "orders"
    create   = true
    columns = {
      id       = "body.id"
      customer = "body.customer.name"
      seen_at  = "time"
      document = "body"
    }
  }
}
