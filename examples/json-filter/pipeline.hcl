# Of a service's log in JSON, the errors alone, with the request they belong to as an attribute.

agent "json-filter" {
  data_dir = "data"
}

plugin "json-filter" {
  source = "./json-filter.wasm"
}

source "file" "service" {
  into    = channel.errors
  through = [processor.errors]
  config {
    paths = ["logs/*.log"]
  }
}

processor "json-filter" "errors" {
  config {
    member     = "level"
    equals     = ["error", "fatal"]
    attributes = ["request.id"]
  }
}

channel "wal" "errors" {
}

sink "file" "errors" {
  from = channel.errors
  config {
    path   = "out/errors.log"
    format = "json"
  }
}
