// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/host/address/addresstest"
	"github.com/penstock-io/penstock/host/admin"
	"github.com/penstock-io/penstock/host/reliability"
)

var hopKills = flag.Int("hopkills", 12, "how often one of two agents is killed that a hop stands between")

const nearText = `
agent "near" {
  data_dir = "DIR/data"
}

source "file" "app" {
  into = channel.main
  config { paths = ["DIR/logs/app.log", "DIR/logs/idle.log"] }
}

channel "wal" "main" {
  capacity = "64MiB"
}

sink "hop" "out" {
  from = channel.main
  tls  = tls.near
  config { address = "tls://127.0.0.1:PORT" }
}

tls "near" {
  cert = "DIR/near.pem"
  key  = "DIR/near.key"
  ca   = "DIR/far.pem"
}
`

const farText = `
agent "far" {
  data_dir = "DIR/far/data"
}

source "hop" "in" {
  into = channel.main
  tls  = tls.far
  config {
    listen  = "tls://127.0.0.1:PORT"
    clients = ["near"]
  }
}

channel "wal" "main" {
  max_events = 5000 # often full
}

sink "file" "out" {
  from     = channel.main
  delivery = "exactly_once"
  config { path = "DIR/out/out.log" }
}

tls "far" {
  cert = "DIR/far.pem"
  key  = "DIR/far.key"
  ca   = "DIR/near.pem"
}
`

// newHop is an agent that tails a log into a hop, and another that writes what comes over it into the file.
func newHop(t *testing.T) (near, far *rig) {
	t.Helper()
	near = newRig(t)
	far = &rig{t: t, dir: near.path("far"), cfg: near.path("far.hcl"), rng: near.rng, byAim: map[string]int{}}
	certify(t, near, "near")
	certify(t, near, "far")
	place := strings.NewReplacer("DIR", near.dir, "PORT", strconv.Itoa(addresstest.FreePort(t)))
	if err := errors.Join(os.WriteFile(near.cfg, []byte(place.Replace(nearText)), 0o644), os.WriteFile(far.cfg, []byte(place.Replace(farText)), 0o644)); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// certify writes a certificate that signs itself, and its key; who names it as its authority trusts it alone. It is good for this machine, and for other addresses.
func certify(t *testing.T, r *rig, name string, addresses ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0)}
	for _, one := range addresses {
		of.IPAddresses = append(of.IPAddresses, net.ParseIP(one))
	}
	cert, cerr := x509.CreateCertificate(crand.Reader, of, of, &key.PublicKey, key)
	secret, kerr := x509.MarshalECPrivateKey(key)
	if err := errors.Join(cerr, kerr,
		os.WriteFile(r.path(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(r.path(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestKillNineLosesAndRepeatsNothingOverAHop kills the sending and the receiving agent in turns, at steps such as the flush that comes before the answer to the other.
func TestKillNineLosesAndRepeatsNothingOverAHop(t *testing.T) {
	near, far := newHop(t)
	list := schedule(*hopKills, near.rng)
	defer few(len(list))()
	var up *exec.Cmd
	row := near.loop(len(list), func(n int) {
		killed, other := near, far
		if n%2 == 1 {
			killed, other = far, near
		}
		beside := other.start()
		killed.kill(list[n])
		end(beside)
		if n == len(list)-1 {
			up = far.start()
		}
	})
	far.terminate(up, 0)
	row.Part, row.What = reliability.Kill, "two agents under load, with a hop between them"
	row.Note += ", killed at " + strings.Trim(fmt.Sprint(near.byAim), "map[]") + " and at " + strings.Trim(fmt.Sprint(far.byAim), "map[]")
	reliability.Report(t, row)
}

// TestADownstreamThatIsSlowAndThenAwayHoldsTheFirstAgentBackAndLosesNothing: the receiving agent runs a tenth of the time, and then not at all for a while, until the
// sending one's channel is full, and its source waits.
func TestADownstreamThatIsSlowAndThenAwayHoldsTheFirstAgentBackAndLosesNothing(t *testing.T) {
	const room, each = 2000, 6000
	near, far := newHop(t)
	text, err := os.ReadFile(near.cfg)
	if err == nil {
		err = os.WriteFile(near.cfg, bytes.Replace(text, []byte(`capacity = "64MiB"`), fmt.Appendf(nil, "max_events = %d", room), 1), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	up := far.start()
	from := near.start()
	near.write(0, each)
	near.delivered(each)

	near.write(each, 2*each)
	slow := make(chan struct{})
	go func() {
		defer close(slow)
		for range 10 {
			_ = up.Process.Signal(syscall.SIGSTOP) // it is there: it is killed below
			time.Sleep(90 * time.Millisecond)
			_ = up.Process.Signal(syscall.SIGCONT)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	<-slow
	near.delivered(2 * each)

	end(up)
	near.write(2*each, 3*each)
	near.until("the source waits for room", func(s admin.Status) bool {
		return component(s, "sink.out").Waiting >= room/2 && strings.Contains(component(s, "source.app").Reason, "full")
	})
	stands := func() (n uint64) {
		near.until("it answers", func(s admin.Status) bool { n = component(s, "source.app").Events; return true })
		return n
	}
	before := stands()
	time.Sleep(500 * time.Millisecond)
	if after := stands(); after != before || after >= 3*each {
		t.Errorf("the source has read %d events, then %d, with nobody to take them", before, after)
	}
	up = far.start()
	near.delivered(3 * each)
	near.terminate(from, 0)
	far.until("all is delivered", func(s admin.Status) bool { return component(s, "sink.out").Waiting == 0 })
	far.terminate(up, 0)
	near.came(3 * each)
}

// TestASenderThatIsRestoredFromABackupIsHeldAndEachWayOutWorks: both sides say diverged, nothing is sent, and then what the operator chose happens.
func TestASenderThatIsRestoredFromABackupIsHeldAndEachWayOutWorks(t *testing.T) {
	const day = 1000
	for _, way := range []struct {
		name     string
		stopped  bool // the agent, meanwhile
		commands [][]string
		want     func(i int) int // how often line i is there in the end
	}{
		{"again", true, [][]string{{"replay", "--from", "here"}}, func(i int) int {
			if i >= day && i < 2*day {
				return 2 // the file is read again from where the backup stood
			}
			return 1
		}},
		{"no more", false, [][]string{{"purge"}, {"replay", "--from", "here"}}, func(i int) int {
			if i >= 2*day && i < 3*day {
				return 0 // waited, and was given up
			}
			return 1
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			near, far := newHop(t)
			up := far.start()
			defer func() { end(up) }()
			for i := range 2 {
				cmd := near.start()
				near.write(i*day, (i+1)*day)
				near.delivered(day)
				near.terminate(cmd, 0)
				if i == 0 {
					if err := os.CopyFS(near.path("backup"), os.DirFS(near.path("data", "channels"))); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := errors.Join(os.RemoveAll(near.path("data", "channels")), os.Rename(near.path("backup"), near.path("data", "channels"))); err != nil {
				t.Fatal(err)
			}
			near.write(2*day, 3*day)
			cmd := near.start()
			near.until("the sink is held, and all waits for it", func(s admin.Status) bool {
				return strings.Contains(component(s, "sink.out").Reason, "diverged") && component(s, "source.app").Events == 2*day
			})
			if way.stopped {
				near.terminate(cmd, 0)
			}
			if !strings.Contains(far.said.String(), "diverged") {
				t.Errorf("the receiver says nothing:\n%s", &far.said)
			}
			for _, c := range way.commands {
				args := append(append([]string{"channel"}, c...), "main", "sink.out", "--data-dir", near.path("data"), "--yes")
				out, err := exec.Command(binary, args...).CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			near.write(3*day, 4*day)
			read := uint64(3 * day)
			if way.stopped {
				cmd, read = near.start(), day
			}
			near.until("all is sent", func(s admin.Status) bool {
				return component(s, "source.app").Events == read && component(s, "sink.out").Waiting == 0
			})
			near.terminate(cmd, 0)
			far.until("all is delivered", func(s admin.Status) bool { return component(s, "sink.out").Waiting == 0 })
			got, err := os.ReadFile(near.path("out", "out.log"))
			if err != nil {
				t.Fatal(err)
			}
			times := map[string]int{}
			for line := range strings.Lines(string(got)) {
				times[line]++
			}
			for i := range 4 * day {
				if n := times[fmt.Sprintf("line %d\n", i)]; n != way.want(i) {
					t.Fatalf("line %d is there %d times, not %d", i, n, way.want(i))
				}
			}
		})
	}
}
