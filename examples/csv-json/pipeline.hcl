# Readings in CSV become JSON on their way into the channel.

agent "csv-json" {
  data_dir = "data"
}

plugin "csv-json" {
  source = "./csv-json.wasm"
}

source "file" "readings" {
  into    = channel.readings
  through = [processor.readings]
  config {
    paths = ["in/*.csv"]
  }
}

processor "csv-json" "readings" {
  config {
    columns = ["time", "sensor", "celsius"]
  }
}

channel "wal" "readings" {
}

sink "file" "readings" {
  from = channel.readings
  config {
    path = "out/readings.json"
  }
}
