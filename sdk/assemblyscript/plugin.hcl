# SPDX-License-Identifier: Apache-2.0
# The plugin by which the SDK is tested.

name    = "echo"
version = "0.1.0"

source "echo" {
  doc            = "Counts: event 0, event 1, …"
  replay         = "cursor"
  cursor_version = 1

  argument "count" {
    type    = integer
    default = 0
    min     = 0
    doc     = "How many events."
  }
}

processor "echo" {
  doc = "Hands on what it is given."

  argument "mode" {
    type    = string
    default = "keep"
    enum    = ["keep", "rebuild", "half"]
    doc     = "keep: copies events whole. rebuild: encodes them anew. half: leaves out every other one."
  }
}

sink "echo" {
  doc     = "Looks at everything, counts bytes, and keeps nothing."
  effects = "idempotent"
}
