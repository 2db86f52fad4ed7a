#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints for how many seconds the machine is up, every so many seconds.
echo "every $1 s" >&2
while read -r up idle </proc/uptime; do
  echo "up $up s"
  sleep "$1"
done
