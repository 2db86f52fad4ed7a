# How `penstock plugin test` tries the plugin.
source "webhook" "takes what is signed" {
  config {
    listen = "0.0.0.0:8080"
    path   = "/hooks"
    secret = "It's a Secret to Everybody"
  }

  # The example of GitHub's documentation.
  request "listen" {
    path   = "/hooks"
    header = { x-hub-signature-256 = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17" }
    body   = "Hello, World!"
  }
  request "listen" {
    path   = "/hooks?a=b"
    header = {
      x-hub-signature-256 = "sha256=b9f180c4171a9926a5055962b54ec47b0ebee85e62e76c83ebdbb382f77b05ac"
      x-github-event      = "ping"
      x-github-delivery   = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
    }
    body = "{\"zen\":\"Keep it logically awesome.\"}"
  }

  # Another body, no signature, half a signature; elsewhere, and otherwise.
  request "listen" {
    path   = "/hooks"
    header = { x-hub-signature-256 = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17" }
    body   = "Hello, World?"
    status = 401
  }
  request "listen" {
    path   = "/hooks"
    body   = "Hello, World!"
    status = 401
  }
  request "listen" {
    path   = "/hooks"
    header = { x-hub-signature-256 = "sha256=757107ea" }
    body   = "Hello, World!"
    status = 401
  }
  request "listen" {
    path   = "/"
    status = 404
  }
  request "listen" {
    method = "GET"
    path   = "/hooks"
    status = 405
  }
  output = ["Hello, World!", "{\"zen\":\"Keep it logically awesome.\"}"]

  refuses {
    listen = "0.0.0.0:8080"
    secret = "guess me"
  }
}
