# SPDX-License-Identifier: Apache-2.0

name    = "csv-json"
version = "0.1.0"

processor "csv-json" {
  doc = "Makes a JSON object of each line of CSV."

  argument "columns" {
    type     = list(string)
    required = true
    doc      = "Names of the fields, from left to right. Fields beyond them are left out."
  }
  argument "delimiter" {
    type    = string
    default = ","
    doc     = "One byte."
  }
  argument "numbers" {
    type    = bool
    default = true
    doc     = "Whether whole numbers that are not in quotes become numbers. Those that begin with a 0 stay texts."
  }
}
