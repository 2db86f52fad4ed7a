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

	"github.com/penstock-io/penstock/host/plugin"
)

func TestBaseURLs(t *testing.T) {
	for s, want := range map[string]string{
		"https://Example.com/v1":     "",
		"http://127.0.0.1:8080":      "",
		"http://[::1]:80/a%2fb/":     "",
		"example.com/v1":             "begins with http",
		"ftp://example.com":          "begins with http",
		"http:///v1":                 "names no host",
		"http:x":                     "names no host",
		"https://u:secret@host/":     "as a secret",
		"https://host/?a=b":          "leave out",
		"https://host/?":             "leave out",
		"https://host/#x":            "leave out",
		"https://host/a/../b":        "may not go up",
		"https://host/a/%2e%2e/b":    "may not go up",
		"https://ho st/":             "invalid character",
		"https://host//evil.example": "one slash",
	} {
		_, err := HTTP(s, HTTPOptions{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", s, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: the error tells the password: %v", s, err)
		}
	}
}

func TestPathsStayBelowTheBase(t *testing.T) {
	for _, c := range []struct{ base, path, want string }{
		{"https://host/v1", "", "https://host/v1"},
		{"https://host/v1", "/logs?a=b&c=%20", "https://host/v1/logs?a=b&c=%20"},
		{"https://host/v1/", "/logs", "https://host/v1/logs"},
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
		client, err := HTTP(c.base, HTTPOptions{})
		if err != nil {
			t.Fatal(err)
		}
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
	c, err := HTTP(srv.URL, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Client.CloseIdleConnections()
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
	other, err := HTTP("http://192.0.2.1:80", HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Client.Get(srv.URL); !errors.Is(err, plugin.ErrForbidden) {
		t.Errorf("another host: %v", err)
	}
}

func TestTheClientBoundsHeaders(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-A", strings.Repeat("x", 2*maxResponseHeader))
	}))
	defer srv.Close()
	c, err := HTTP(srv.URL, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
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
	strict, err := HTTP(srv.URL, HTTPOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strict.Client.Get(srv.URL); err == nil {
		t.Error("a certificate that nobody signed was taken")
	}
	roots := srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	trusting, err := HTTP(srv.URL, HTTPOptions{TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Client.CloseIdleConnections()
	resp, err := trusting.Client.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
