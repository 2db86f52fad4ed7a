# How `penstock plugin test` tries the plugin.
processor "json-filter" "keeps errors" {
  config {
    member     = "level"
    equals     = ["error", "3"]
    attributes = ["request.id"]
  }
  input = [
    "{\"level\":\"error\",\"request\":{\"id\":\"r-7\"}}",
    "{\"level\":\"info\"}",
    "{\"message\":\"error\"}",
    "{\"level\":3}",
    "error",
    "",
  ]
  output = ["{\"level\":\"error\",\"request\":{\"id\":\"r-7\"}}", "{\"level\":3}"]
  refuses {
    member = ""
  }
}

processor "json-filter" "looks into objects" {
  config {
    member  = "http.status"
    invalid = "keep"
  }
  input  = ["{\"http\":{\"status\":200}}", "{\"http\":{}}", "no JSON"]
  output = ["{\"http\":{\"status\":200}}", "no JSON"]
}
