# A log in which some lines are JSON and others plain text. Each processor is for the lines that it can do something with; all keep their order.

agent "mixed-lines" {
  data_dir = "data"
}

source "file" "app" {
  into    = channel.main
  through = [processor.fields, processor.words, processor.loud]

  config {
    paths = ["in/*.log"]
  }
}

# Lines of JSON: fields become attributes.
processor "json" "fields" {
  when = startswith(event.body, "{")

  config {
    fields = {
      level  = "level"
      status = "http.status"
    }
  }
}

# All others: the level is the first word.
processor "regex" "words" {
  when = !startswith(event.body, "{")

  config {
    pattern = "^(?P<level>[A-Za-z]+) "
  }
}

locals {
  loud = ["error", "fatal"]
}

# Whatever they were: what is loud gets a mark. An attribute is a string, and is converted where a number is needed; where there is no status,
# the level alone decides.
processor "set" "loud" {
  when = contains(local.loud, lower(event.attributes.level)) || event.attributes.status >= 500

  config {
    add = {
      alert = "yes"
    }
  }
}

channel "wal" "main" {
}

sink "file" "out" {
  from = channel.main

  config {
    path   = "out/app.jsonl"
    format = "json"
  }
}
