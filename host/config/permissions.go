// SPDX-License-Identifier: Apache-2.0

package config

import "github.com/penstock-io/penstock/spec/abi"

// Permissions says what the component may touch, a few words each, for people: "read /var/log/shop", "listen on tcp://:514".
func (c Component) Permissions() []string {
	may := []string{}
	for _, d := range c.Dirs {
		does := "read "
		if d.Write {
			does = "read and write "
		}
		may = append(may, does+d.Path)
	}
	for _, h := range c.Handles {
		may = append(may, handleWords[h.Kind]+h.Address)
	}
	for _, name := range c.Env {
		may = append(may, "read the environment variable "+name)
	}
	for _, name := range c.Secrets {
		may = append(may, "know secret."+name)
	}
	for _, need := range c.Needs {
		if need == abi.NeedStdout {
			may = append(may, "write to standard output")
		}
	}
	if c.Ref.Trusted {
		may = append(may, "use the processor without a bound")
	}
	return may
}

var handleWords = map[string]string{
	abi.NeedDial: "connect to ", abi.NeedListen: "listen on ", abi.NeedServe: "serve HTTP on ", abi.NeedHTTP: "send requests to ",
}
