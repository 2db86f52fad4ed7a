# How `penstock plugin test` tries the plugin.
processor "csv-json" "makes objects" {
  config {
    columns = ["time", "sensor", "celsius"]
  }
  input = [
    "2026-11-26T16:00:00Z,\"roof, \"\"north\"\"\",21",
    ",007,-3",
    "only a time",
    "a\\b,c,21.5,beyond the columns",
  ]
  output = [
    "{\"time\":\"2026-11-26T16:00:00Z\",\"sensor\":\"roof, \\\"north\\\"\",\"celsius\":21}",
    "{\"time\":\"\",\"sensor\":\"007\",\"celsius\":-3}",
    "{\"time\":\"only a time\"}",
    "{\"time\":\"a\\\\b\",\"sensor\":\"c\",\"celsius\":\"21.5\"}",
  ]
  refuses {
    columns = []
  }
}

processor "csv-json" "leaves numbers as they are" {
  config {
    columns   = ["a", "b"]
    delimiter = ";"
    numbers   = false
  }
  input  = ["1;2,3"]
  output = ["{\"a\":\"1\",\"b\":\"2,3\"}"]
  refuses {
    columns   = ["a"]
    delimiter = "::"
  }
}
