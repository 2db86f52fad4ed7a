# SPDX-License-Identifier: Apache-2.0
# The manifest of the plugins for PostgreSQL: what they take and need, read without running them.

name    = "postgres"
version = "0.1.0"

source "postgres" {
  doc            = "Reads the rows of a table of PostgreSQL, each once, by a key that grows. A notification may wake it up."
  replay         = "cursor"
  cursor_version = 1

  argument "host" {
    type     = string
    required = true
    doc      = "The server's machine, or the directory of its unix socket, such as /var/run/postgresql."
  }
  argument "port" {
    type    = integer
    default = 5432
    min     = 1
    max     = 65535
    doc     = "Of the server."
  }
  argument "database" {
    type     = string
    required = true
    doc      = "The database."
  }
  argument "user" {
    type     = string
    required = true
    doc      = "The role to connect as."
  }
  argument "password" {
    type      = string
    sensitive = true
    doc       = "Its password, such as secret.pg."
  }
  argument "tls" {
    type    = string
    default = "verify"
    enum    = ["verify", "require", "off"]
    doc     = "verify: the server shows a certificate for host. require: any certificate will do. off: nothing is encrypted. A unix socket needs none."
  }
  argument "tls_ca" {
    type = string
    doc  = "A file in PEM form of those who may sign the server's certificate; else the system's."
  }
  argument "tls_cert" {
    type = string
    doc  = "A file in PEM form: the certificate to show to the server."
  }
  argument "tls_key" {
    type = string
    doc  = "A file in PEM form: its key."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "1s"
    max     = "1h"
    doc     = "How long the server may take for one statement."
  }
  argument "table" {
    type     = string
    required = true
    doc      = "TABLE or SCHEMA.TABLE, letter by letter."
  }
  argument "key" {
    type     = list(string)
    required = true
    doc      = "The columns by which rows are read. Together they are unique, never NULL, indexed in this order, and greater for later rows."
  }
  argument "columns" {
    type    = list(string)
    default = []
    doc     = "What of a row becomes the body, as a JSON object; all of it where this is empty."
  }
  argument "body" {
    type    = string
    default = ""
    doc     = "One column that is the body, as it is, instead."
  }
  argument "time" {
    type    = string
    default = ""
    doc     = "A column that is the time of the event; else it is when the row was read."
  }
  argument "start" {
    type    = string
    default = "beginning"
    enum    = ["beginning", "end"]
    doc     = "Where to begin when the source starts for the first time: with the rows that are there, or with those that come."
  }
  argument "wait_for" {
    type    = string
    default = "writers"
    enum    = ["writers", "transactions", "nobody"]
    doc     = "Whose end to wait for before a row is read, since they may still add one with a smaller key: who is writing to the table, every transaction of the database, or nobody."
  }
  argument "listen" {
    type    = string
    default = ""
    doc     = "A channel of NOTIFY that says that there are rows."
  }
  argument "interval" {
    type    = duration
    default = "1s"
    min     = "1ms"
    max     = "24h"
    doc     = "How often to look for rows, where no notification comes."
  }

  need "dial" "server" {
    value = split("/", config.host)[0] == "" ? "unix://${config.host}/.s.PGSQL.${config.port}" : "tcp://${config.host}:${config.port}"
  }
  need "dir" "tls_ca" {
    value  = config.tls_ca
    access = "read"
  }
  need "dir" "tls_cert" {
    value  = config.tls_cert
    access = "read"
  }
  need "dir" "tls_key" {
    value  = config.tls_key
    access = "read"
  }
}

sink "postgres" {
  doc        = "Writes events into a table of PostgreSQL, each once: a delivery and the range of its offsets are one transaction."
  effects    = "transactional"
  concurrent = true

  argument "host" {
    type     = string
    required = true
    doc      = "The server's machine, or the directory of its unix socket, such as /var/run/postgresql."
  }
  argument "port" {
    type    = integer
    default = 5432
    min     = 1
    max     = 65535
    doc     = "Of the server."
  }
  argument "database" {
    type     = string
    required = true
    doc      = "The database."
  }
  argument "user" {
    type     = string
    required = true
    doc      = "The role to connect as."
  }
  argument "password" {
    type      = string
    sensitive = true
    doc       = "Its password, such as secret.pg."
  }
  argument "tls" {
    type    = string
    default = "verify"
    enum    = ["verify", "require", "off"]
    doc     = "verify: the server shows a certificate for host. require: any certificate will do. off: nothing is encrypted. A unix socket needs none."
  }
  argument "tls_ca" {
    type = string
    doc  = "A file in PEM form of those who may sign the server's certificate; else the system's."
  }
  argument "tls_cert" {
    type = string
    doc  = "A file in PEM form: the certificate to show to the server."
  }
  argument "tls_key" {
    type = string
    doc  = "A file in PEM form: its key."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "1s"
    max     = "1h"
    doc     = "How long the server may take for one statement. Keep it below the sink's own timeout."
  }
  argument "table" {
    type     = string
    required = true
    doc      = "TABLE or SCHEMA.TABLE, letter by letter."
  }
  argument "columns" {
    type    = map(string)
    default = { time = "time", attributes = "attributes", body = "body" }
    doc     = "What goes into which column: body, body.FIELD of JSON, time, attributes, attributes.NAME, offset, incarnation or stream."
  }
  argument "on_conflict" {
    type    = string
    default = "error"
    enum    = ["error", "ignore", "update"]
    doc     = "What becomes of an event whose key the table has: it is rejected, it is passed over, or it replaces the row."
  }
  argument "key" {
    type    = list(string)
    default = []
    doc     = "The columns by which rows are the same, for ignore and update: a primary key or a unique index."
  }
  argument "ranges" {
    type    = string
    default = "penstock_ranges"
    doc     = "The table that keeps what was delivered; in the schema of table unless it names one. Sinks may share it."
  }
  argument "create" {
    type    = bool
    default = false
    doc     = "Create both tables where they are not there."
  }

  need "dial" "server" {
    value = split("/", config.host)[0] == "" ? "unix://${config.host}/.s.PGSQL.${config.port}" : "tcp://${config.host}:${config.port}"
  }
  need "dir" "tls_ca" {
    value  = config.tls_ca
    access = "read"
  }
  need "dir" "tls_cert" {
    value  = config.tls_cert
    access = "read"
  }
  need "dir" "tls_key" {
    value  = config.tls_key
    access = "read"
  }
}
