# Run them with: penstock test

test "fields become attributes, cards are masked, and what is no order is set aside" {
  input "orders" {
    bodies = [
      "{\"customer\":{\"name\":\"Ada\"},\"amount\":12,\"card\":\"1234567890123456\"}",
      "this is no order",
      "{\"customer\":{\"name\":\"Ben\"},\"amount\":7}",
    ]
  }
  expect "sink.archive" {
    bodies = [
      "{\"customer\":{\"name\":\"Ada\"},\"amount\":12,\"card\":\"************3456\"}",
      "{\"customer\":{\"name\":\"Ben\"},\"amount\":7}",
    ]
    attributes = [
      { "order.customer" = "Ada", "order.amount" = "12" },
      { "order.customer" = "Ben", "order.amount" = "7" },
    ]
  }
  expect "channel.rejected" {
    bodies     = ["this is no order"]
    attributes = [{ "penstock.dead.processor" = "processor.parse", "penstock.dead.class" = "reject" }]
  }
}

test "orders that the archive rejects are set aside, and the others arrive once it is back" {
  input "orders" {
    bodies = ["{\"amount\":1}", "{\"amount\":2}", "{\"amount\":3}"]
  }
  sink "archive" {
    fail   = 2
    reject = "2"
  }
  expect "sink.archive" { bodies = ["{\"amount\":1}", "{\"amount\":3}"] }
  expect "channel.rejected" {
    bodies     = ["{\"amount\":2}"]
    attributes = [{ "penstock.dead.component" = "sink.archive" }]
  }
}
