# Run them with: penstock test

test "errors alone are kept, with the request they belong to" {
  input "service" {
    bodies = [
      "{\"level\":\"info\",\"message\":\"listening\"}",
      "no JSON",
      "{\"level\":\"error\",\"message\":\"out of memory\",\"request\":{\"id\":\"r-7\"}}",
      "{\"message\":\"level is not here\"}",
      "{\"message\":\"disk is full\",\"level\":\"fatal\"}",
    ]
  }
  expect "sink.errors" {
    events     = 2
    contains   = ["{\"message\":\"disk is full\",\"level\":\"fatal\"}"]
    attributes = [{ "request.id" = "r-7" }]
  }
}
