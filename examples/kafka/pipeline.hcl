# Errors of one cluster of Apache Kafka go to another: each once, also when the agent, a plugin or a broker is killed.

secret "kafka" { from = "env:KAFKA_PASSWORD" }

source "kafka" "logs" {
  into    = channel.main
  through = [processor.errors]
  config {
    brokers  = ["kafka1.internal:9093", "kafka2.internal:9093"]
    sasl     = "scram-sha-512"
    user     = "penstock"
    password = secret.kafka
    topics   = ["logs"]
    group    = "penstock-logs"
  }
}

processor "filter" "errors" {
  config {
    attribute = "kafka.header.level"
    equals    = ["error"]
  }
}

channel "wal" "main" {
  capacity    = "10GiB"
  dead_letter = channel.rejected
}

channel "wal" "rejected" {
  capacity = "1GiB"
}

sink "kafka" "errors" {
  from        = channel.main
  order       = "none"
  connections = 2
  batch {
    events = 5000
    wait   = "200ms"
  }
  config {
    brokers = ["kafka.dc2:9093"]
    topic   = "errors"
    key     = "kafka.key"
    headers = ["kafka.header.*"]
    create  = true
  }
}
