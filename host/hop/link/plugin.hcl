# SPDX-License-Identifier: Apache-2.0
# The manifest of the hop: what its source and its sink take and need.

name    = "hop"
version = "0.1.0"

source "hop" {
  doc            = "Takes events from the hop sinks of other agents, each exactly once: where each upstream stands is part of the cursor."
  replay         = "cursor"
  cursor_version = 1

  argument "listen" {
    type     = string
    required = true
    doc      = "The address to listen on, \"tls://:7421\". Its tls block has cert, key and ca. Without TLS: a unix socket, or 127.0.0.1."
  }
  argument "clients" {
    type     = list(string)
    required = true
    doc      = "Who may send, by the identity in the certificate: its first URI, else its common name, else its first DNS name. A * stands for anything. Who comes without TLS is \"local\"."
  }
  argument "upstreams" {
    type    = integer
    default = 4096
    min     = 1
    max     = 14000
    doc     = "How many upstreams it remembers. Further ones are bidden to try again."
  }
  argument "window" {
    type    = integer
    default = 16
    min     = 1
    max     = 64
    doc     = "How many batches of one upstream may be on their way at a time."
  }

  need "listen" "in" { value = config.listen }
}

sink "hop" {
  doc     = "Sends events to the hop source of another agent, each exactly once."
  effects = "transactional"

  argument "address" {
    type     = string
    required = true
    doc      = "Where the other agent listens, \"tls://collector:7421\". Its tls block has cert, key and ca. Without TLS: a unix socket, or 127.0.0.1."
  }
  argument "window" {
    type    = integer
    default = 16
    min     = 1
    max     = 64
    doc     = "How many batches are sent before the first is answered."
  }
  argument "compression" {
    type    = string
    default = "none"
    enum    = ["none", "zstd"]
    doc     = "How batches are packed on the way."
  }

  need "dial" "out" { value = config.address }
}
