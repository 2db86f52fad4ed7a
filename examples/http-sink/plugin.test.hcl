# How `penstock plugin test` tries the plugin.
sink "http-sink" "posts lines" {
  config {
    url = "http://127.0.0.1:5180/ingest"
  }
  server "url" {}
}
