# SPDX-License-Identifier: Apache-2.0

name    = "json-filter"
version = "0.1.0"

processor "json-filter" {
  doc = "Keeps events whose body is a JSON object with a certain member, and copies members to attributes."

  argument "member" {
    type     = string
    required = true
    doc      = "The member to look at; dots lead into objects: http.status."
  }
  argument "equals" {
    type    = list(string)
    default = []
    doc     = "What it may be, numbers as they are written. Empty: it only has to be there."
  }
  argument "attributes" {
    type    = list(string)
    default = []
    doc     = "Members to copy to attributes of the same name."
  }
  argument "invalid" {
    type    = string
    default = "drop"
    enum    = ["drop", "keep"]
    doc     = "What to do with bodies that are no JSON object."
  }
}
