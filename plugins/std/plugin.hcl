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

source "spool" {
  doc            = "Reads a directory of finished files, each once, and moves or deletes a file when its last line is on disk. A bad one is set aside with its reason."
  replay         = "cursor"
  cursor_version = 1

  argument "path" {
    type     = string
    required = true
    pattern  = "[^*?\\[{]+"
    doc      = "The directory that finished files are put into, best by a rename. Only this source reads it."
  }
  argument "include" {
    type    = list(string)
    default = ["*"]
    doc     = "Globs of the files to read: of names, or of paths from the directory on when there is a slash. Names that begin with a dot are never read."
  }
  argument "exclude" {
    type    = list(string)
    default = ["*.tmp", "*.part", "*.swp", "*~"]
    doc     = "Globs of files to leave where they are, such as those that are being written."
  }
  argument "subdirectories" {
    type    = bool
    default = false
    doc     = "Whether to read files in the directories below, too, but for done, bad, and those whose names begin with a dot."
  }
  argument "order" {
    type    = string
    default = "name"
    enum    = ["name", "time"]
    doc     = "In which order files are read that wait together. name: by their paths. time: the one that was written first comes first."
  }
  argument "when_done" {
    type    = string
    default = "move"
    enum    = ["move", "delete"]
    doc     = "What becomes of a file when all of it is on disk in the channel."
  }
  argument "done" {
    type    = string
    default = "done"
    doc     = "The folder in the directory that files are moved to which were read."
  }
  argument "bad" {
    type    = string
    default = "bad"
    doc     = "The folder in the directory that files are moved to which cannot be read, each with a file NAME.reason beside it."
  }
  argument "settle" {
    type    = duration
    default = "1s"
    doc     = "How long ago a file must have been written last to count as finished. 0s: files are only ever moved into the directory."
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
    enum    = ["split", "truncate", "set_aside"]
    doc     = "Longer ones become several events, all but the last with the attribute file.partial; or one, with file.truncated; or the file is set aside there."
  }
  argument "on_binary" {
    type    = string
    default = "set_aside"
    enum    = ["set_aside", "read"]
    doc     = "What becomes of a file that has a byte 0 in its first KiB, or is compressed."
  }
  argument "multiline" {
    type = object({
      pattern = string
    })
    doc = "Joins lines into events: a line that matches pattern (RE2) begins one."
  }
  argument "scan_interval" {
    type    = duration
    default = "1s"
    min     = "10ms"
    doc     = "How often to look for new files when none waits."
  }

  need "dir" "path" {
    value  = "${config.path}/"
    access = "write"
  }
}

source "http" {
  doc            = "Takes events by HTTP: one request is one transaction, and 200 says that all of it is on disk."
  replay         = "ack"
  cursor_version = 1

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: host:port, tls://host:port or unix:///path."
  }
  argument "path" {
    type    = string
    default = ""
    doc     = "The one path that is served, such as \"/in\"; others are answered with 404. \"\": all are."
  }
  argument "format" {
    type    = string
    default = "lines"
    enum    = ["raw", "lines", "ndjson", "json"]
    doc     = "What a body is. raw: one event. lines: an event each. ndjson: the same, and each is JSON. json: an array, each element of which is an event; or one value."
  }
  argument "headers" {
    type    = list(string)
    default = []
    doc     = "Headers of the request that become attributes of its events, under their names in lower case."
  }
  argument "idempotency_keys" {
    type    = integer
    default = 10000
    min     = 0
    max     = 50000
    doc     = "How many values of the header Idempotency-Key to remember: a request with one of these is answered as the first was, and stored once. 0: none."
  }

  need "serve" "listen" {
    value = config.listen
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

source "tcp" {
  doc    = "Takes lines over TCP, TLS and unix sockets, over thousands of connections at once."
  replay = "none"

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: tcp://host:port, tls://host:port or unix:///path."
  }
  argument "framing" {
    type    = string
    default = "lines"
    enum    = ["lines", "nul", "length"]
    doc     = "What an event is. lines: up to a newline. nul: up to a byte 0. length: so many bytes as the four before them say, the most significant first."
  }
  argument "max_line" {
    type    = size
    default = "1MiB"
    min     = "16B"
    max     = "4MiB"
    doc     = "The longest line that becomes one event. Longer ones become several, all but the last with the attribute tcp.partial; with framing = \"length\" the connection is closed."
  }
  argument "peer" {
    type    = bool
    default = true
    doc     = "Whether events have the attribute tcp.peer, the sender's address and port."
  }

  need "listen" "listen" {
    value = config.listen
  }
}

source "udp" {
  doc    = "Takes datagrams of UDP or of a unix socket, an event each."
  replay = "none"

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: udp://host:port or unixgram:///path."
  }
  argument "max_datagram" {
    type    = size
    default = "64KiB"
    min     = "64B"
    max     = "1MiB"
    doc     = "Longer ones are cut, and have the attribute udp.truncated."
  }
  argument "peer" {
    type    = bool
    default = true
    doc     = "Whether events have the attribute udp.peer, the sender's address and port."
  }

  need "listen" "listen" {
    value = config.listen
  }
}

source "syslog" {
  doc    = "Takes syslog messages (RFC 3164 and RFC 5424) over TCP, TLS, UDP and unix sockets."
  replay = "none"

  argument "listen" {
    type     = string
    required = true
    doc      = "Where to listen: tcp://host:port, tls://host:port, udp://host:port, unix:///path or unixgram:///path."
  }
  argument "max_message" {
    type    = size
    default = "64KiB"
    min     = "480B"
    max     = "1MiB"
    doc     = "Of lines what is longer becomes several events; a longer datagram is cut; a longer message with a length closes its connection."
  }
  argument "body" {
    type    = string
    default = "text"
    enum    = ["text", "message"]
    doc     = "What the body of an event is: the text after the header, or the message as it came."
  }
  argument "zone" {
    type    = string
    default = "UTC"
    pattern = "UTC|[+-][0-9]{2}:[0-9]{2}"
    doc     = "Where the times of RFC 3164, which say nothing of it, were written: UTC, or an offset such as \"+01:00\"."
  }

  need "listen" "listen" {
    value = config.listen
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

sink "http" {
  doc        = "Sends events by HTTP, a delivery in one request. The status of the answer says what becomes of them."
  effects    = "none"
  concurrent = true

  argument "url" {
    type     = string
    required = true
    doc      = "Where to send them."
  }
  argument "method" {
    type    = string
    default = "POST"
    enum    = ["POST", "PUT"]
    doc     = "How."
  }
  argument "format" {
    type    = string
    default = "ndjson"
    enum    = ["raw", "ndjson", "json"]
    doc     = "raw: each body and a newline. ndjson: a line of JSON for each event. json: an array of them."
  }
  argument "content" {
    type    = string
    default = "body"
    enum    = ["body", "object"]
    doc     = "What ndjson and json write of an event. body: its body, as it is where that is JSON, else as a string. object: an object with time, attributes and body."
  }
  argument "compression" {
    type    = string
    default = "none"
    enum    = ["none", "gzip"]
    doc     = "Of the request."
  }
  argument "headers" {
    type    = map(string)
    default = {}
    doc     = "Further headers of the request."
  }
  argument "authorization" {
    type      = string
    sensitive = true
    doc       = "The header Authorization, such as \"Bearer $${secret.api}\"."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "100ms"
    max     = "10m"
    doc     = "How long a request may take, with its answer."
  }

  need "http" "url" {
    value = config.url
  }
}

sink "tcp" {
  doc     = "Sends events as lines over one connection of TCP, TLS or a unix socket."
  effects = "none"

  argument "address" {
    type     = string
    required = true
    doc      = "Where to connect to: tcp://host:port, tls://host:port or unix:///path."
  }
  argument "format" {
    type    = string
    default = "raw"
    enum    = ["raw", "json"]
    doc     = "raw: the body and a newline. json: an object with time, attributes and body."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "100ms"
    max     = "10m"
    doc     = "How long connecting may take, and how long the other end may not read."
  }

  need "dial" "address" {
    value = config.address
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

processor "filter" {
  doc = "Keeps the events that match, or drops them. An event without the attribute does not match."

  argument "action" {
    type    = string
    default = "keep"
    enum    = ["keep", "drop"]
    doc     = "What is done with the events that match; with the others the opposite is."
  }
  argument "attribute" {
    type    = string
    default = ""
    doc     = "The attribute that is looked at; not set: the body."
  }
  argument "equals" {
    type    = list(string)
    default = []
    doc     = "It matches when it is one of these, to the byte."
  }
  argument "matches" {
    type    = string
    default = ""
    doc     = "It matches when this regular expression (RE2) is found in it. Either equals or matches is set."
  }
}

processor "set" {
  doc = "Removes attributes, gives others a new name, and adds some, in that order."

  argument "remove" {
    type    = list(string)
    default = []
    doc     = "Names of attributes that go."
  }
  argument "rename" {
    type    = map(string)
    default = {}
    doc     = "New names by old ones. An attribute that has the new name already goes; two may change places."
  }
  argument "add" {
    type    = map(string)
    default = {}
    doc     = "Values by name."
  }
  argument "overwrite" {
    type    = bool
    default = true
    doc     = "add changes attributes that are there already."
  }
}

processor "regex" {
  doc = "Makes attributes of the named groups of a regular expression."

  argument "pattern" {
    type     = string
    required = true
    doc      = "The regular expression (RE2), with groups such as (?P<level>[A-Z]+). A group that took no part leaves its attribute alone."
  }
  argument "attribute" {
    type    = string
    default = ""
    doc     = "The attribute that is looked at; not set: the body."
  }
  argument "prefix" {
    type    = string
    default = ""
    doc     = "What the names of the attributes begin with, before that of the group."
  }
  argument "otherwise" {
    type    = string
    default = "pass"
    enum    = ["pass", "drop", "reject"]
    doc     = "What is done with an event that does not match. reject: what the processor's on_error says."
  }
}

processor "json" {
  doc = "Makes attributes of the fields of a body that is an object of JSON. Strings as what they say, all else as JSON; null is as if it were not there."

  argument "fields" {
    type    = map(string)
    default = {}
    doc     = "Where the value of each attribute is: level = \"log.level\". Empty: all fields at the top, 256 at most, under their own names."
  }
  argument "attribute" {
    type    = string
    default = ""
    doc     = "The attribute that is looked at; not set: the body."
  }
  argument "prefix" {
    type    = string
    default = ""
    doc     = "What the names of the attributes begin with."
  }
  argument "otherwise" {
    type    = string
    default = "reject"
    enum    = ["pass", "drop", "reject"]
    doc     = "What is done with an event that is no object of JSON. reject: what the processor's on_error says."
  }
}

processor "mask" {
  doc = "Replaces what a regular expression finds, in the body and in attributes."

  argument "pattern" {
    type     = string
    required = true
    doc      = "The regular expression (RE2) of what must not go on."
  }
  argument "replacement" {
    type    = string
    default = "***"
    doc     = "What stands there instead; $1 is the first group, $$ a dollar."
  }
  argument "body" {
    type    = bool
    default = true
    doc     = "Look into the body."
  }
  argument "attributes" {
    type    = list(string)
    default = []
    doc     = "Names of attributes to look into; \"*\": all."
  }
}
