// SPDX-License-Identifier: Apache-2.0

package endpoint

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/host/address"
	"github.com/penstock-io/penstock/host/plugin"
	"github.com/penstock-io/penstock/spec/abi"
)

// clientOf makes a client of what lies below a URL.
func clientOf(t *testing.T, base string, o HTTPOptions) plugin.HTTPClient {
	t.Helper()
	a, err := address.Parse(abi.NeedHTTP, base)
	if err != nil {
		t.Fatal(err)
	}
	c, err := HTTP(a, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Client.CloseIdleConnections)
	return c
}

func TestPathsStayBelowTheBase(t *testing.T) {
	for _, c := range []struct{ base, path, want string }{
		{"https://host/v1", "", "https://host/v1"},
		{"https://host/v1", "/logs?a=b&c=%20", "https://host/v1/logs?a=b&c=%20"},
		{"https://HOST:443/v1//", "/logs", "https://host/v1/logs"},
		{"https://host", "", "https://host"},
		{"https://host", "/", "https://host/"},
		{"https://host/v1", "?x=/../y", "https://host/v1?x=/../y"},
		{"https://host/a%2Fb", "/c%2Fd", "https://host/a%2Fb/c%2Fd"},
		{"https://host/v1", "/..", ""},
		{"https://host/v1", "/../admin", ""},
		{"https://host/v1", "/a/../../admin", ""},
		{"https://host/v1", "/%2e%2E/admin", ""},
		{"https://host/v1", "/..%2fadmin", ""},
		{"https://host/v1", `/..%5cadmin`, ""},
		{"https://host/v1", "/..;x/admin", ""},
		{"https://host/v1", "/a/./b", ""},
		{"https://host/v1", "//evil.example/", ""},
		{"https://host/v1", "evil", ""},
		{"https://host/v1", "@evil.example/", ""},
		{"https://host/v1", "https://evil.example/", ""},
		{"https://host/v1", "/x y", ""},
		{"https://host/v1", "/x?y\r\nX-Evil: 1", ""},
		{"https://host/v1", "/x#y", ""},
		{"https://host/v1", "/%zz", ""},
	} {
		client := clientOf(t, c.base, HTTPOptions{})
		u, err := client.URL(c.path)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s and %q: %s", c.base, c.path, u)
		case c.want != "" && (err != nil || u.String() != c.want):
			t.Errorf("%s and %q: %s, %v, want %s", c.base, c.path, u, err, c.want)
		}
	}
}

func TestTheClientFollowsNothingAndAsksNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
		if r.Header.Get("Cookie") != "" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("headers of our own: %v", r.Header)
		}
	}))
	defer srv.Close()
	c := clientOf(t, srv.URL, HTTPOptions{})
	for range 2 {
		resp, err := c.Client.Get(srv.URL)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("answered %s", resp.Status)
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

func TestTheClientReachesWhatIsGrantedAlone(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") }))
	defer srv.Close()
	other := clientOf(t, "http://192.0.2.1:80", HTTPOptions{})
	if _, err := other.Client.Get(srv.URL); !errors.Is(err, plugin.ErrForbidden) {
		t.Errorf("another host: %v", err)
	}
}

func TestTheClientBoundsHeaders(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", strings.Repeat("x", 2*maxResponseHeader))
	}))
	defer srv.Close()
	c := clientOf(t, srv.URL, HTTPOptions{})
	if resp, err := c.Client.Get(srv.URL); err == nil {
		resp.Body.Close()
		t.Error("no error")
	}
}

func TestTheClientSpeaksTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is refused
	srv.StartTLS()
	defer srv.Close()
	strict := clientOf(t, srv.URL, HTTPOptions{})
	if _, err := strict.Client.Get(srv.URL); err == nil {
		t.Error("a certificate that nobody signed was taken")
	}
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	trusting := clientOf(t, srv.URL, HTTPOptions{TLS: &tls.Config{RootCAs: roots}})
	resp, err := trusting.Client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
