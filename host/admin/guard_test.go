// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func asks(t *testing.T, url, token string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", token)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestWhoHasNoTokenLearnsYesOrNoAndNothingElse(t *testing.T) {
	opts := options(t, &fakeAgent{ready: []string{"sink.orders is held"}})
	opts.Token = "0123456789abcdef"
	s := start(t, opts)
	for _, c := range []struct {
		path, token string
		status      int
		says        string // "-": nothing
	}{
		{"/metrics", "", 401, "show the token"},
		{"/metrics", "Bearer wrong", 401, "show the token"},
		{"/metrics", "0123456789abcdef", 401, "show the token"},
		{"/api/v1/status", "Bearer 0123456789abcde", 401, "show the token"},
		{"/debug/pprof/cmdline", "", 401, "show the token"},
		{"/metrics", "Bearer 0123456789abcdef", 200, "penstock_"},
		{"/livez", "", 200, "-"},
		{"/readyz", "", 503, "-"},
		{"/readyz", "Bearer 0123456789abcdef", 503, "sink.orders is held"},
	} {
		status, body := asks(t, "http://"+s.Addr()+c.path, c.token)
		if status != c.status || c.says == "-" && body != "" || c.says != "-" && !strings.Contains(body, c.says) {
			t.Errorf("%s with %q: %d %q", c.path, c.token, status, body)
		}
	}
}

func TestOtherMachinesAreLetInByTLSAlone(t *testing.T) {
	opts := options(t, &fakeAgent{})
	opts.Listen, opts.Beyond, opts.Token = "0.0.0.0:0", true, "0123456789abcdef"
	if s, err := Listen(opts); !errors.Is(err, ErrExposed) {
		t.Errorf("it listens: %v, %v", s, err)
	}
}

func TestThereAreNoMoreConnectionsThanBounded(t *testing.T) {
	s := start(t, options(t, &fakeAgent{}))
	var open []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	answered := make(chan int, 1) // one value, from the goroutine below
	go func() {
		status, _ := asks(t, "http://"+s.Addr()+"/livez", "")
		answered <- status
	}()
	select {
	case <-answered:
		t.Error("one more was taken")
	case <-time.After(100 * time.Millisecond):
	}
	for _, c := range open {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if status := <-answered; status != 200 {
		t.Errorf("when there was room it was answered with %d", status)
	}
}
