agent "routes" {
  data_dir = "data"

  http {
    listen = "127.0.0.1:7420"
  }
}

source "file" "app" {
  into = channel.main
  config { paths = ["logs/*.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

# Each event is of the first case that holds for it, and of the default when none does. A route without a default is refused, unless it says
# that the rest is given up: unmatched = "discard".
route "by_level" {
  from = channel.main

  case "errors" {
    when = matches("^(ERROR|FATAL)\\b", event.body)
  }
  case "noise" {
    when = startswith(event.body, "DEBUG")
  }
  default "rest" {}
}

# Of one event several things may hold. What is of none of these is given up, and counted.
route "by_team" {
  from      = channel.main
  match     = "all"
  unmatched = "discard"

  case "shop" {
    when = strcontains(event.body, "order")
  }
  case "billing" {
    when = strcontains(event.body, "invoice")
  }
}

sink "file" "errors" {
  from = route.by_level.errors
  config { path = "out/errors.log" }
}

sink "file" "rest" {
  from = route.by_level.rest
  config { path = "out/rest.log" }
}

# Thrown away on purpose: a case that nobody reads is refused.
sink "discard" "noise" {
  from = route.by_level.noise
}

sink "file" "shop" {
  from = route.by_team.shop
  config { path = "out/shop.log" }
}

# where asks of each event of the case besides.
sink "file" "billing" {
  from  = route.by_team.billing
  where = !startswith(event.body, "DEBUG")
  config { path = "out/billing.log" }
}

# Who reads the channel itself gets everything.
sink "file" "all" {
  from = channel.main
  config { path = "out/all.log" }
}
