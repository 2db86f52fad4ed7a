# SPDX-License-Identifier: Apache-2.0
# How `penstock plugin test` tries what comes with penstock: penstock plugin test bin/std.wasm -f plugins/std/plugin.test.hcl

source "file" "reads what is there" {
  config {
    paths     = ["logs/*.log"]
    multiline = { pattern = "^[0-9]", max_wait = "1ms" }
  }
  file "logs/a.log" {
    content = "1 one\n2 two\n  goes on\n3 three\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n14\n15\n16\n17\n18\n19\n20\n"
  }
  file "logs/b.txt" {
    content = "is not read\n"
  }
  events = 20
  refuses {
    paths     = ["logs/*.log"]
    multiline = { pattern = "(" }
  }
}

source "generate" "counts" {
  config {
    count = 100
  }
  events = 100
}

source "spool" "reads finished files" {
  config {
    path          = "spool"
    settle        = "0s"
    scan_interval = "10ms"
  }
  file "spool/a.log" {
    content = "1\n2\n3\n4\n5\n6\n7\n8\n9\n"
  }
  file "spool/b.log" {
    content = "10\n11\n12 has no newline"
  }
  file "spool/c.tmp" {
    content = "is not read\n"
  }
  output = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12 has no newline"]
  refuses {
    path = ""
  }
}

source "http" "takes lines" {
  config {
    listen  = "0.0.0.0:8080"
    path    = "/in"
    headers = ["x-tenant"]
  }
  request "listen" {
    path   = "/in"
    header = { x-tenant = "shop", idempotency-key = "1" }
    body   = "one\ntwo\n"
  }
  request "listen" {
    path   = "/in"
    header = { idempotency-key = "1" }
    body   = "one\ntwo\n"
  }
  request "listen" {
    path   = "/elsewhere"
    body   = "one"
    status = 404
  }
  request "listen" {
    method = "GET"
    path   = "/in"
    status = 405
  }
  request "listen" {
    path = "/in"
    body = "three"
  }
  output = ["one", "two", "three"]
}

source "http" "takes JSON" {
  config {
    listen = "unix:///run/in.sock"
    format = "json"
  }
  request "listen" {
    body = "[1, {\"a\": 2}]"
  }
  request "listen" {
    body   = "[1, "
    status = 400
  }
  output = ["1", "{\"a\":2}"]
}

source "tcp" "takes lines of several" {
  config {
    listen = "0.0.0.0:5170"
  }
  client "listen" {
    send = ["one\r\ntwo\nthr", "ee\n"]
  }
  client "listen" {
    send = ["the last has no newline"]
  }
  output = ["one", "two", "three", "the last has no newline"]
}

source "tcp" "takes lengths" {
  config {
    listen  = "tcp://0.0.0.0:5170"
    framing = "length"
  }
  client "listen" {
    send = ["\u0000\u0000\u0000\u0003one\u0000", "\u0000\u0000\u0005t\nwo\n"]
  }
  output = ["one", "t\nwo\n"]
}

source "udp" "takes datagrams" {
  config {
    listen = "udp://0.0.0.0:514"
  }
  client "listen" {
    send = ["one", "two\n", "three"]
  }
  output = ["one", "two", "three"]
}

source "syslog" "takes both formats over TCP" {
  config {
    listen = "tcp://0.0.0.0:514"
  }
  client "listen" {
    send = ["<13>Jan  3 11:59:59 host app[7]: one\n", "50 <165>1 2003-10-11T22:14:15.003Z host app 7 - - two"]
  }
  output = ["one", "two"]
  refuses {
    listen = "tcp://0.0.0.0:514"
    zone   = "+99:00"
  }
}

source "syslog" "takes datagrams" {
  config {
    listen = "udp://0.0.0.0:514"
    body   = "message"
  }
  client "listen" {
    send = ["<13>Jan  3 11:59:59 host app[7]: one", "no syslog"]
  }
  output = ["<13>Jan  3 11:59:59 host app[7]: one", "no syslog"]
}

sink "file" "appends" {
  config {
    path = "out.log"
  }
  file "out.log" {
    content = ""
  }
  stored = "out.log"
}

sink "http" "sends lines" {
  config {
    url    = "https://collector.internal/ingest"
    format = "raw"
  }
  server "url" {}
  refuses {
    url     = "https://collector.internal/ingest"
    headers = { content-length = "7" }
  }
}

sink "http" "sends JSON, compressed" {
  config {
    url         = "http://collector.internal/ingest"
    format      = "json"
    compression = "gzip"
  }
  server "url" {
    format = "json"
  }
}

sink "tcp" "sends lines" {
  config {
    address = "collector.internal:5170"
  }
  server "address" {}
}

processor "filter" "keeps" {
  config {
    matches = "^e"
  }
  input  = ["error", "info", "", "e"]
  output = ["error", "e"]
  refuses {
    matches = "("
  }
}

processor "filter" "drops" {
  config {
    action = "drop"
    equals = ["", "info"]
  }
  input  = ["error", "info", "", "info "]
  output = ["error", "info "]
}

processor "set" "leaves bodies alone" {
  config {
    add = { env = "test" }
  }
  input  = ["a", "b"]
  output = ["a", "b"]
}

processor "regex" "drops what does not match" {
  config {
    pattern   = "^(?P<level>[A-Z]+) "
    otherwise = "drop"
  }
  input  = ["ERROR disk", "nothing"]
  output = ["ERROR disk"]
  refuses {
    pattern = "(?P<level>"
  }
}

processor "json" "drops what is none" {
  config {
    fields    = { level = "log.level" }
    otherwise = "drop"
  }
  input  = ["{\"log\": {\"level\": \"error\"}}", "{", "[]", "{}"]
  output = ["{\"log\": {\"level\": \"error\"}}", "{}"]
}

processor "mask" "hides passwords" {
  config {
    pattern     = "password=[^ ]*"
    replacement = "password=***"
  }
  input  = ["user=a password=b c", "none"]
  output = ["user=a password=*** c", "none"]
  refuses {
    pattern = "["
  }
}

sink "stdout" "prints" {}

sink "discard" "takes all" {}
