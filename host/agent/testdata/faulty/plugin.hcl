name    = "faulty"
version = "0.1.0"

source "traps" {
  replay         = "cursor"
  cursor_version = 1
  argument "count" {
    type     = number
    required = true
  }
  argument "every" {
    type     = number
    required = true
  }
}

sink "down" {
  effects = "idempotent"
  argument "until" {
    type     = string
    required = true
  }
  argument "hangs" {
    type    = bool
    default = false
  }
  argument "picky" {
    type    = bool
    default = false
  }
  argument "password" {
    type      = string
    sensitive = true
    default   = ""
  }
  argument "breaks" {
    type    = string
    default = ""
  }
  need "dir" "until" {
    value = config.until
  }
}

processor "picky" {
  argument "breaks" {
    type    = string
    default = ""
  }
}

processor "pass" {
}
