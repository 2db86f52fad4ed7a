# SPDX-License-Identifier: Apache-2.0
# The manifest of the plugins for Apache Kafka: what they take and need, read without running them.

name    = "kafka"
version = "0.1.0"

source "kafka" {
  doc            = "Reads topics of Apache Kafka, each record once: it goes on from its own cursor, and not from what a consumer group has committed."
  replay         = "cursor"
  cursor_version = 1

  argument "brokers" {
    type     = list(string)
    required = true
    doc      = "Some brokers to begin with, as HOST:PORT; they tell of the others. At most 5."
  }
  argument "tls" {
    type    = string
    default = "verify"
    enum    = ["verify", "require", "off"]
    doc     = "verify: each broker shows a certificate for its name. require: any certificate will do. off: nothing is encrypted."
  }
  argument "tls_ca" {
    type = string
    doc  = "A file in PEM form of those who may sign the brokers' certificates; else the system's."
  }
  argument "tls_cert" {
    type = string
    doc  = "A file in PEM form: the certificate to show to the brokers."
  }
  argument "tls_key" {
    type = string
    doc  = "A file in PEM form: its key."
  }
  argument "sasl" {
    type    = string
    default = "none"
    enum    = ["none", "plain", "scram-sha-256", "scram-sha-512"]
    doc     = "How to log in."
  }
  argument "user" {
    type = string
    doc  = "Whom to log in as."
  }
  argument "password" {
    type      = string
    sensitive = true
    doc       = "Its password, such as secret.kafka."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "1s"
    max     = "15m"
    doc     = "How long the brokers may take for one thing."
  }
  argument "topics" {
    type     = list(string)
    required = true
    doc      = "What to read. Partitions that a topic gets later are found."
  }
  argument "start" {
    type    = string
    default = "oldest"
    enum    = ["oldest", "newest"]
    doc     = "Where to begin with a topic that is read for the first time: with the records that are there, or with those that come."
  }
  argument "on_missing" {
    type    = string
    default = "stop"
    enum    = ["stop", "oldest", "newest"]
    doc     = "What to do when the brokers no longer have what comes next (deleted before it was read, a topic that was deleted or made anew): stop and say so, or go on with the oldest or the newest there is, counted."
  }
  argument "isolation" {
    type    = string
    default = "read_committed"
    enum    = ["read_committed", "read_uncommitted"]
    doc     = "read_uncommitted also reads what transactions have written that are not over, or were aborted."
  }
  argument "refresh" {
    type    = duration
    default = "30s"
    min     = "100ms"
    max     = "1h"
    doc     = "How often to look for new partitions, and whether the topics are still the same."
  }
  argument "group" {
    type    = string
    default = ""
    doc     = "A consumer group that is told every 5 s how far the source is, for those who watch its lag. Nothing is read from it."
  }

  limits { memory = "256MiB" }

  need "network" "brokers" {
    value = "the other brokers"
  }
  need "dial" "broker1" {
    value = length(config.brokers) > 0 ? "tcp://${config.brokers[0]}" : null
  }
  need "dial" "broker2" {
    value = length(config.brokers) > 1 ? "tcp://${config.brokers[1]}" : null
  }
  need "dial" "broker3" {
    value = length(config.brokers) > 2 ? "tcp://${config.brokers[2]}" : null
  }
  need "dial" "broker4" {
    value = length(config.brokers) > 3 ? "tcp://${config.brokers[3]}" : null
  }
  need "dial" "broker5" {
    value = length(config.brokers) > 4 ? "tcp://${config.brokers[4]}" : null
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

sink "kafka" {
  doc        = "Writes events into a topic of Apache Kafka, each once for who reads what is committed: a delivery and the range of its offsets are one transaction."
  effects    = "transactional"
  concurrent = true

  argument "brokers" {
    type     = list(string)
    required = true
    doc      = "Some brokers to begin with, as HOST:PORT; they tell of the others. At most 5."
  }
  argument "tls" {
    type    = string
    default = "verify"
    enum    = ["verify", "require", "off"]
    doc     = "verify: each broker shows a certificate for its name. require: any certificate will do. off: nothing is encrypted."
  }
  argument "tls_ca" {
    type = string
    doc  = "A file in PEM form of those who may sign the brokers' certificates; else the system's."
  }
  argument "tls_cert" {
    type = string
    doc  = "A file in PEM form: the certificate to show to the brokers."
  }
  argument "tls_key" {
    type = string
    doc  = "A file in PEM form: its key."
  }
  argument "sasl" {
    type    = string
    default = "none"
    enum    = ["none", "plain", "scram-sha-256", "scram-sha-512"]
    doc     = "How to log in."
  }
  argument "user" {
    type = string
    doc  = "Whom to log in as."
  }
  argument "password" {
    type      = string
    sensitive = true
    doc       = "Its password, such as secret.kafka."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "1s"
    max     = "5m"
    doc     = "How long the brokers may take for one thing. Keep it below the sink's own timeout."
  }
  argument "topic" {
    type     = string
    required = true
    doc      = "Where to write."
  }
  argument "key" {
    type    = string
    default = ""
    doc     = "The attribute that is the message's key, such as kafka.key; messages with the same key go to the same partition. Empty: none."
  }
  argument "headers" {
    type    = list(string)
    default = []
    doc     = "Attributes that become headers: NAME, or PREFIX* for all that begin so, without the prefix; * for all."
  }
  argument "tombstones" {
    type    = bool
    default = false
    doc     = "Write a message without a value where an event has no body and the attribute kafka.tombstone."
  }
  argument "compression" {
    type    = string
    default = "lz4"
    enum    = ["none", "gzip", "snappy", "lz4", "zstd"]
    doc     = "Of batches of messages."
  }
  argument "max_message" {
    type    = size
    default = "1MB"
    min     = "1KiB"
    max     = "15MiB"
    doc     = "How large a message may be, before compression: at most max.message.bytes of the topic. Larger events are rejected."
  }
  argument "transactional_id" {
    type    = string
    default = "penstock"
    doc     = "What the transactional ids begin with; the stream and the connection follow. The user needs WRITE and DESCRIBE on those."
  }
  argument "state_topic" {
    type    = string
    default = "penstock_ranges"
    doc     = "The compacted topic that keeps what was delivered. Sinks may share it."
  }
  argument "create" {
    type    = bool
    default = false
    doc     = "Create the state topic where it is not there."
  }

  limits { memory = "128MiB" }

  need "network" "brokers" {
    value = "the other brokers"
  }
  need "dial" "broker1" {
    value = length(config.brokers) > 0 ? "tcp://${config.brokers[0]}" : null
  }
  need "dial" "broker2" {
    value = length(config.brokers) > 1 ? "tcp://${config.brokers[1]}" : null
  }
  need "dial" "broker3" {
    value = length(config.brokers) > 2 ? "tcp://${config.brokers[2]}" : null
  }
  need "dial" "broker4" {
    value = length(config.brokers) > 3 ? "tcp://${config.brokers[3]}" : null
  }
  need "dial" "broker5" {
    value = length(config.brokers) > 4 ? "tcp://${config.brokers[4]}" : null
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

sink "kafka_plain" {
  doc        = "Writes events into a topic of Apache Kafka without transactions: after a crash or a lost answer a batch may be written again."
  effects    = "none"
  concurrent = true

  argument "brokers" {
    type     = list(string)
    required = true
    doc      = "Some brokers to begin with, as HOST:PORT; they tell of the others. At most 5."
  }
  argument "tls" {
    type    = string
    default = "verify"
    enum    = ["verify", "require", "off"]
    doc     = "verify: each broker shows a certificate for its name. require: any certificate will do. off: nothing is encrypted."
  }
  argument "tls_ca" {
    type = string
    doc  = "A file in PEM form of those who may sign the brokers' certificates; else the system's."
  }
  argument "tls_cert" {
    type = string
    doc  = "A file in PEM form: the certificate to show to the brokers."
  }
  argument "tls_key" {
    type = string
    doc  = "A file in PEM form: its key."
  }
  argument "sasl" {
    type    = string
    default = "none"
    enum    = ["none", "plain", "scram-sha-256", "scram-sha-512"]
    doc     = "How to log in."
  }
  argument "user" {
    type = string
    doc  = "Whom to log in as."
  }
  argument "password" {
    type      = string
    sensitive = true
    doc       = "Its password, such as secret.kafka."
  }
  argument "timeout" {
    type    = duration
    default = "30s"
    min     = "1s"
    max     = "5m"
    doc     = "How long the brokers may take for one thing. Keep it below the sink's own timeout."
  }
  argument "topic" {
    type     = string
    required = true
    doc      = "Where to write."
  }
  argument "key" {
    type    = string
    default = ""
    doc     = "The attribute that is the message's key, such as kafka.key; messages with the same key go to the same partition. Empty: none."
  }
  argument "headers" {
    type    = list(string)
    default = []
    doc     = "Attributes that become headers: NAME, or PREFIX* for all that begin so, without the prefix; * for all."
  }
  argument "tombstones" {
    type    = bool
    default = false
    doc     = "Write a message without a value where an event has no body and the attribute kafka.tombstone."
  }
  argument "compression" {
    type    = string
    default = "lz4"
    enum    = ["none", "gzip", "snappy", "lz4", "zstd"]
    doc     = "Of batches of messages."
  }
  argument "max_message" {
    type    = size
    default = "1MB"
    min     = "1KiB"
    max     = "15MiB"
    doc     = "How large a message may be, before compression: at most max.message.bytes of the topic. Larger events are rejected."
  }

  limits { memory = "128MiB" }

  need "network" "brokers" {
    value = "the other brokers"
  }
  need "dial" "broker1" {
    value = length(config.brokers) > 0 ? "tcp://${config.brokers[0]}" : null
  }
  need "dial" "broker2" {
    value = length(config.brokers) > 1 ? "tcp://${config.brokers[1]}" : null
  }
  need "dial" "broker3" {
    value = length(config.brokers) > 2 ? "tcp://${config.brokers[2]}" : null
  }
  need "dial" "broker4" {
    value = length(config.brokers) > 3 ? "tcp://${config.brokers[3]}" : null
  }
  need "dial" "broker5" {
    value = length(config.brokers) > 4 ? "tcp://${config.brokers[4]}" : null
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
