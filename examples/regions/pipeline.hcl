# One file for every site: what differs is in variables, and for_each makes a source, a channel and an archive of each shop.

variable "shops" {
  description = "The shops of this site, with what each logs and keeps."
  type = map(object({
    logs     = string
    capacity = optional(size, "256MiB")
    active   = optional(bool, true)
  }))
  validation {
    condition     = length(var.shops) > 0
    error_message = "A site has one shop at least: --var-file site.vars."
  }
}

variable "site" {
  type    = string
  default = "test"
}

locals {
  archive = "out/${lower(var.site)}"
}

function "file_of" {
  params = [dir, shop]
  result = "${dir}/${shop}.log"
}

agent "regions" {
  data_dir = "data"
}

source "file" "shop" {
  for_each = var.shops
  enabled  = each.value.active
  into     = channel.shop[each.key]
  config { paths = [each.value.logs] }
}

channel "wal" "shop" {
  for_each = var.shops
  enabled  = each.value.active
  capacity = each.value.capacity
}

sink "file" "archive" {
  for_each = var.shops
  enabled  = each.value.active
  from     = channel.shop[each.key]
  config { path = file_of(local.archive, each.key) }
}

# The first shop had no name of its own once. It keeps its place in its files, what waits, and what was delivered.
moved {
  from = source.shop
  to   = source.shop["eu"]
}

moved {
  from = channel.main
  to   = channel.shop["eu"]
}

moved {
  from = sink.archive
  to   = sink.archive["eu"]
}
