name    = "poison"
version = "0.1.0"

sink "poison" {
  effects = "transactional"
  argument "path" {
    type     = string
    required = true
  }
  argument "format" {
    type    = string
    default = "raw"
  }
  argument "breaks" {
    type     = string
    required = true
  }
  need "dir" "path" {
    value  = config.path
    access = "write"
  }
}
