# Webhooks that are signed, in a file: what was answered with 200 is on disk.

agent "webhook" {
  data_dir = "data"
}

# What was typed into the sender's settings.
secret "webhook" {
  from = "env:WEBHOOK_SECRET"
}

plugin "webhook" {
  source = "./webhook.wasm"
  grant {
    secrets = ["webhook"]
    serve "listen" {
      address = "127.0.0.1:5190"
    }
  }
}

source "webhook" "in" {
  into = channel.main
  config {
    listen = "127.0.0.1:5190"
    path   = "/hooks"
    secret = secret.webhook
  }
}

channel "wal" "main" {
}

sink "file" "archive" {
  from = channel.main
  config {
    path   = "out/hooks.log"
    format = "json"
  }
}
