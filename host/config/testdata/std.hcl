name    = "std"
version = "0.1.0"

source "file" {
  doc            = "Tails files."
  replay         = "cursor"
  cursor_version = 1
  reads          = [1]

  argument "paths" {
    type     = list(string)
    required = true
    doc      = "Globs of the files to tail."
  }
  argument "start" {
    type    = string
    default = "beginning"
    enum    = ["beginning", "end"]
  }
  argument "max_line" {
    type    = size
    default = "1MiB"
    min     = "1KiB"
    max     = "4MiB"
  }
  argument "poll" {
    type    = duration
    default = "250ms"
    min     = "10ms"
  }
  argument "multiline" {
    type = object({ pattern = string, wait = optional(duration, "1s"), lines = optional(integer) })
  }
  argument "exclude" {
    type       = list(string)
    deprecated = "list only what is wanted in paths."
  }
  argument "encoding" {
    type    = string
    pattern = "[a-z0-9-]+"
  }
  argument "labels" {
    type = map(string)
  }
  need "dir" "paths" {
    value  = config.paths
    access = "read"
  }
}

source "generate" {
  replay = "none"
  argument "rate" {
    type = number
    min  = 0
    max  = 1000000
  }
  argument "count" {
    type = integer
  }
}

sink "file" {
  effects = "transactional"
  argument "path" {
    type     = string
    required = true
  }
  need "dir" "out" {
    value  = config.path
    access = "write"
  }
  limits { memory = "32MiB" }
}

sink "stdout" {
  argument "format" {
    type    = string
    default = "raw"
    enum    = ["raw", "json"]
  }
  need "stdout" "stdout" {}
}

sink "discard" {
  concurrent = true
}

processor "keep" {
  argument "attribute" {
    type     = string
    required = true
  }
}
