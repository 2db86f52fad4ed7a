# SPDX-License-Identifier: Apache-2.0
# The manifest of the source that runs a command: what it takes and needs, read without running it.

name    = "exec"
version = "0.1.0"

source "exec" {
  doc    = "Runs a command, and takes what it prints: a line an event. It runs on and on, and is started again when it ends; or once in a while."
  replay = "none"

  argument "command" {
    type     = list(string)
    required = true
    doc      = "The program and its arguments, each as it is: there is no shell between. The program is a path, or a name that PATH finds."
  }
  argument "interval" {
    type = duration
    min  = "100ms"
    max  = "8760h"
    doc  = "Run it once in a while, so long from start to start. Without it, it is started at once, and again when it ends: see restart."
  }
  argument "timeout" {
    type = duration
    min  = "100ms"
    max  = "8760h"
    doc  = "How long one run may take; then it is stopped, and counts as failed. The time in which nobody takes what it prints, since the channel is full, does not count."
  }
  argument "restart" {
    type = string
    enum = ["always", "on_failure", "never"]
    doc  = "Whether it is started again when it has ended: always (the default), only when it has failed, or never. Not with interval."
  }
  argument "backoff" {
    type    = duration
    default = "1s"
    min     = "10ms"
    max     = "24h"
    doc     = "How long to wait before it is started again; twice as long each time, up to max_backoff."
  }
  argument "max_backoff" {
    type    = duration
    default = "1m"
    min     = "10ms"
    max     = "24h"
    doc     = "The longest wait."
  }
  argument "min_uptime" {
    type    = duration
    default = "10s"
    max     = "24h"
    doc     = "After a run that was as long as this, the wait is backoff again."
  }
  argument "on_failure" {
    type    = string
    default = "log"
    enum    = ["log", "event", "hold"]
    doc     = "What an exit status other than 0, a signal or a timeout comes to: a warning in the log; that and an event with the attribute exec.status; or the source is held, until somebody looks."
  }
  argument "stderr" {
    type    = string
    default = "log"
    enum    = ["log", "events", "discard"]
    doc     = "What becomes of its standard error: the agent's log takes it, as far as limits.log_rate goes; events, like its standard output, and each event says in exec.stream which it is of; nothing."
  }
  argument "event" {
    type    = string
    default = "line"
    enum    = ["line", "run"]
    doc     = "What an event is: a line, or all that one run prints."
  }
  argument "max_line" {
    type    = size
    default = "1MiB"
    min     = "1KiB"
    max     = "4MiB"
    doc     = "The longest line, or output of a run, that becomes one event."
  }
  argument "on_long_line" {
    type    = string
    default = "split"
    enum    = ["split", "truncate"]
    doc     = "Longer ones become several events, all but the last with the attribute exec.partial; or one, with exec.truncated."
  }
  argument "directory" {
    type    = string
    default = ""
    doc     = "Where it runs, which it may read. Without one it is a directory of its own, empty, which is removed after it."
  }
  argument "env" {
    type    = list(string)
    default = []
    doc     = "Names of variables of the agent's environment that it gets. Of others it gets PATH, HOME, TMPDIR, LANG, LC_ALL, LC_CTYPE, TZ, SSL_CERT_FILE and SSL_CERT_DIR."
  }
  argument "environment" {
    type    = map(string)
    default = {}
    doc     = "Variables that it gets, and their values. They are shown: a secret goes by env."
  }
  argument "read" {
    type    = list(string)
    default = []
    doc     = "Directories that it may read, with a slash at the end of each; of a file, the directory in which it lies. The programs and libraries of the system it may read anyway."
  }
  argument "write" {
    type    = list(string)
    default = []
    doc     = "Directories that it may write to as well."
  }
  argument "programs" {
    type    = list(string)
    default = []
    doc     = "Programs that it runs itself and that are none of the system's (/usr, /bin, /lib), or directories of such, with a slash at the end: an interpreter, a virtual environment."
  }
  argument "network" {
    type    = bool
    default = false
    doc     = "Whether it reaches the network. It then reaches whatever the machine reaches."
  }
  argument "stop_signal" {
    type    = string
    default = "TERM"
    enum    = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL"]
    doc     = "What it, and all that it has started, is sent to end."
  }
  argument "grace" {
    type    = duration
    default = "2s"
    max     = "4s"
    doc     = "How long it may take to end after that; then it is killed."
  }

  need "exec" "command" {
    value = length(config.command) == 0 ? null : config.command[0]
  }
  need "exec" "programs" {
    value = config.programs
  }
  need "dir" "directory" {
    value  = config.directory == "" ? null : "${config.directory}/"
    access = "read"
  }
  need "dir" "read" {
    value  = config.read
    access = "read"
  }
  need "dir" "write" {
    value  = config.write
    access = "write"
  }
  need "env" "env" {
    value = config.env
  }
  need "network" "network" {
    value = config.network ? "any" : null
  }
}
