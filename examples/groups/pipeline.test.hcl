# Run them with: penstock test

test "the first has all as long as it works" {
  input "orders" {
    bodies = ["order 1", "order 2", "order 3"]
    batch  = 1
  }
  expect "sink.first" { bodies = ["order 1", "order 2", "order 3"] }
  expect "sink.second" { events = 0 }
}

test "what was never sent goes to the second, and what the first may hold waits for it" {
  input "orders" {
    bodies = ["order 1"]
  }
  input "orders" {
    bodies = ["order 2", "order 3"]
  }
  sink "first" { down = true }
  expect "sink.first" {
    events = 0
    state  = "retrying"
  }
  expect "sink.second" { excludes = ["order 1"] }
  expect "sink_group.orders" { excludes = ["order 1"] }
}

test "it has that once, when it is there again" {
  input "orders" {
    bodies = ["order 1", "order 2", "order 3"]
    batch  = 1
  }
  sink "first" { fail = 3 }
  expect "sink.first" { contains = ["order 1"] }
  expect "sink_group.orders" {
    bodies    = ["order 1", "order 2", "order 3"]
    any_order = true
    in_doubt  = 0
  }
}

test "pages are shared, and one member that is down takes nothing from the others" {
  input "orders" {
    bodies = ["page 1", "page 2", "order 1", "page 3", "page 4"]
    batch  = 1
  }
  sink "a" { down = true }
  sink "b" { delay = "5ms" }
  expect "sink.a" { events = 0 }
  expect "sink_group.pages" {
    bodies    = ["page 1", "page 2", "page 3", "page 4"]
    any_order = true
  }
}
