# SPDX-License-Identifier: Apache-2.0
# The manifest of the module std: what its plugins take and need, read without running them.

name    = "std"
version = "0.1.0"

source "file" {
  doc            = "Reads lines from files as they grow, through rotation, truncation and restarts, each line once."
  replay         = "cursor"
  cursor_version = 1

  argument "paths" {
    type     = list(string)
    required = true
    doc      = "Files to read, as paths or globs (*, ?, [a-z])."
  }
  argument "exclude" {
    type    = list(string)
    default = []
    doc     = "Globs of files to leave out: of whole paths, or of file names when there is no slash."
  }
  argument "start" {
    type    = string
    default = "beginning"
    enum    = ["beginning", "end"]
    doc     = "Where to begin with files that are there when the source starts for the first time. Later ones are read from their beginning."
  }
  argument "max_line" {
    type    = size
    default = "1MiB"
    min     = "1KiB"
    max     = "4MiB"
    doc     = "The longest line, or event of many lines, that becomes one event."
  }
  argument "on_long_line" {
    type    = string
    default = "split"
    enum    = ["split", "truncate"]
    doc     = "Longer ones become several events, all but the last with the attribute file.partial; or one, with file.truncated."
  }
  argument "multiline" {
    type = object({
      pattern  = string
      max_wait = optional(duration, "1s")
    })
    doc = "Joins lines into events: a line that matches pattern (RE2) begins one. An event is complete when the next begins, or when nothing came for max_wait."
  }
  argument "scan_interval" {
    type    = duration
    default = "1s"
    min     = "10ms"
    doc     = "How often to look for new, renamed and deleted files. Files that are known are looked at more often."
  }
  argument "forget_after" {
    type    = duration
    default = "720h"
    doc     = "How long to remember how far a file was read after it has gone."
  }

  need "dir" "paths" {
    value  = config.paths
    access = "read"
  }
}

source "generate" {
  doc            = "Makes log lines with a sequence number at their end: for trying out and for measuring."
  replay         = "cursor"
  cursor_version = 1

  argument "rate" {
    type    = number
    default = 0
    min     = 0
    doc     = "Events a second; 0 = as many as are taken."
  }
  argument "count" {
    type    = integer
    default = 0
    min     = 0
    doc     = "How many in all, then the source has finished; 0 = endless."
  }
  argument "size" {
    type    = size
    default = "256B"
    min     = "32B"
    max     = "1MiB"
    doc     = "Length of a line."
  }
}

sink "file" {
  doc     = "Writes events as lines to a file, each once, and rotates it."
  effects = "transactional"

  argument "path" {
    type     = string
    required = true
    doc      = "The file. PATH.penstock beside it remembers what is committed."
  }
  argument "format" {
    type    = string
    default = "raw"
    enum    = ["raw", "json"]
    doc     = "raw: the body and a newline. json: an object with time, attributes and body."
  }
  argument "rotate_size" {
    type    = size
    default = "0B"
    doc     = "Rename the file to PATH.1, PATH.2, … before a delivery that would take it over this; 0 = never. A delivery is never split: one that is larger than this makes a file that is."
  }
  argument "rotate_every" {
    type    = duration
    default = "0s"
    doc     = "Rename the file this long after its first line; 0 = never."
  }
  argument "rotate_keep" {
    type    = integer
    default = 0
    min     = 0
    doc     = "How many renamed files to keep; older ones are deleted. 0 = all."
  }

  need "dir" "path" {
    value  = config.path
    access = "write"
  }
}

sink "stdout" {
  doc        = "Prints events to the standard output of the agent."
  effects    = "none"
  concurrent = true

  argument "format" {
    type    = string
    default = "raw"
    enum    = ["raw", "json"]
    doc     = "raw: the body and a newline. json: an object with time, attributes and body."
  }

  need "stdout" "stdout" {}
}

sink "discard" {
  doc        = "Takes all events and keeps none."
  effects    = "idempotent"
  concurrent = true
}
