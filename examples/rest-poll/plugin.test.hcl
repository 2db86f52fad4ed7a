# SPDX-License-Identifier: Apache-2.0

# How `penstock plugin test` tries the plugin: against `python3 tests/api.py 8437`.
source "rest-poll" "reads all pages" {
  config {
    url   = "http://127.0.0.1:8437/orders"
    items = "orders"
    stop  = true
  }
  events = 25
}
