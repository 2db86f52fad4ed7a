# SPDX-License-Identifier: Apache-2.0

name    = "webhook"
version = "0.1.0"

source "webhook" {
  doc    = "Takes webhooks that their sender signs, as GitHub does; 200 says that the event is on disk."
  replay = "ack"

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: host:port, tls://host:port or unix:///path."
  }
  argument "path" {
    type    = string
    default = "/"
    pattern = "/.*"
    doc     = "The one path that is served."
  }
  argument "secret" {
    type      = string
    required  = true
    sensitive = true
    doc       = "What the sender signs with, of 16 bytes at least."
  }

  need "serve" "listen" {
    value = config.listen
  }
}
