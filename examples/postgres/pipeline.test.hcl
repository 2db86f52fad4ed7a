# Run them with: penstock test. No database is needed: a recorder stands for the sink.

test "orders that the table refuses are set aside, and the others are stored" {
  input "orders" {
    bodies = ["{\"id\":1}", "{\"id\":\"not a number\"}", "{\"id\":2}"]
    batch  = 1
  }
  sink "orders" { reject = "not a number" }
  expect "sink.orders" {
    bodies    = ["{\"id\":1}", "{\"id\":2}"]
    any_order = true # connections = 2
  }
  expect "channel.rejected" { bodies = ["{\"id\":\"not a number\"}"] }
}

test "while the database is down, orders wait in the channel" {
  input "orders" {
    bodies = ["{\"id\":1}"]
    repeat = 100
  }
  sink "orders" { down = true }
  expect "sink.orders" {
    events = 0
    state  = "retrying"
  }
  expect "channel.main" { events = 100 }
  expect "channel.rejected" { events = 0 }
}
