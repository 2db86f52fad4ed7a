# SPDX-License-Identifier: Apache-2.0

name    = "http-sink"
version = "0.1.0"

sink "http-sink" {
  doc     = "Posts each batch to a URL, one body a line."
  effects = "none" # a request whose answer was lost is sent again, with the same idempotency-key

  argument "url" {
    type     = string
    required = true
    doc      = "Where to."
  }
  argument "content_type" {
    type    = string
    default = "application/x-ndjson"
    doc     = "The header of that name."
  }
  argument "timeout" {
    type    = duration
    default = "10s"
    min     = "1ms"
    doc     = "How long a request may take, its answer included."
  }

  need "http" "url" {
    value = config.url
  }
}
