# SPDX-License-Identifier: Apache-2.0

name    = "rest-poll"
version = "0.1.0"

source "rest-poll" {
  doc            = "Polls a REST API for what is new: each item of a JSON array is an event."
  replay         = "cursor"
  cursor_version = 1

  argument "url" {
    type     = string
    required = true
    doc      = "What is asked: it answers an array, or an object with one under items."
  }
  argument "every" {
    type    = duration
    default = "30s"
    min     = "10ms"
    doc     = "How long to wait when there is nothing new."
  }
  argument "items" {
    type    = string
    default = ""
    doc     = "The field that holds the array; empty: the answer is the array."
  }
  argument "id" {
    type    = string
    default = "id"
    doc     = "The field of an item that grows from item to item."
  }
  argument "since" {
    type    = string
    default = "since"
    doc     = "The parameter of the URL that takes the greatest id so far; the API answers what comes after it, in order."
  }
  argument "timeout" {
    type    = duration
    default = "20s"
    min     = "10ms"
    max     = "50s"
    doc     = "How long one request may take."
  }
  argument "token" {
    type      = string
    default   = ""
    sensitive = true
    doc       = "Sent as Authorization: Bearer."
  }
  argument "stop" {
    type    = bool
    default = false
    doc     = "Finish when there is nothing new, instead of waiting."
  }

  need "http" "url" {
    value = config.url
  }
  need "network" "network" {
    value = config.url
  }
}
