# SPDX-License-Identifier: Apache-2.0

name    = "tcp-lines"
version = "0.1.0"

source "tcp-lines" {
  doc    = "Takes lines over TCP."
  replay = "none" # a line that was read and not yet committed dies with the agent: its sender is not asked again

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: tcp://host:port."
  }

  need "listen" "listen" {
    value = config.listen
  }
}

sink "tcp-lines" {
  doc     = "Sends events as lines over TCP."
  effects = "none" # nothing tells it which lines the other end has kept: after an error the whole batch is sent again

  argument "address" {
    type     = string
    required = true
    doc      = "Where to connect to: tcp://host:port."
  }

  need "dial" "address" {
    value = config.address
  }
}
