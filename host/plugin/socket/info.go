// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
)

// info is what net_info says about a handle.
type info struct {
	Local  string   `json:"local,omitempty"`
	Remote string   `json:"remote,omitempty"`
	TLS    *tlsInfo `json:"tls,omitempty"`
}

type tlsInfo struct {
	Version    string    `json:"version"`
	ServerName string    `json:"server_name,omitempty"` // that the client asked for
	Peer       *peerInfo `json:"peer,omitempty"`        // who showed a certificate that was verified
}

type peerInfo struct {
	Subject string `json:"subject"`
	SHA256  string `json:"sha256"` // of the certificate, in hex
}

func describe(c net.Conn) info {
	i := info{Local: text(c.LocalAddr()), Remote: text(c.RemoteAddr())}
	secure, ok := c.(*tls.Conn)
	if !ok {
		return i
	}
	state := secure.ConnectionState()
	i.TLS = &tlsInfo{Version: tls.VersionName(state.Version), ServerName: state.ServerName}
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		sum := sha256.Sum256(cert.Raw)
		i.TLS.Peer = &peerInfo{Subject: cert.Subject.String(), SHA256: hex.EncodeToString(sum[:])}
	}
	return i
}

// text is an address as guests see it: of a unix socket without a name, "".
func text(a net.Addr) string {
	switch a := a.(type) {
	case nil:
		return ""
	case *net.UnixAddr:
		if a == nil || a.Name == "@" {
			return ""
		}
	}
	return a.String()
}
