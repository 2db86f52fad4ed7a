// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	socketName = "control.sock"
	// maxSocketPath is what fits struct sockaddr_un with its final zero: 108 bytes on Linux, 104 elsewhere.
	// One number for all, so that a path does not work on one machine and fail on another.
	maxSocketPath = 103
	// dialTimeout bounds the look whether someone answers at a socket that is there already.
	dialTimeout = time.Second
	// ownerOnly is the umask under which the socket is made: there is no moment at which others could open it.
	ownerOnly = 0o077
)

// SocketPath says where the agent of that data directory has its control socket: in it, or, when that
// path is longer than the system takes, under a name made from it in the runtime directory of the user.
func SocketPath(dataDir string) (string, error) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return "", fmt.Errorf("find the control socket: %w", err)
	}
	path := filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return path, nil
	}
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(runtimeDir(), hex.EncodeToString(sum[:8])+".sock"), nil
}

// runtimeDir is where sockets go whose own directory has too long a path.
func runtimeDir() string {
	const name = "/penstock/0123456789abcdef.sock"
	switch dir := os.Getenv("XDG_RUNTIME_DIR"); {
	case dir != "" && len(dir)+len(name) <= maxSocketPath:
		return filepath.Join(dir, "penstock")
	case os.Geteuid() == 0:
		return "/run/penstock"
	default:
		return fmt.Sprintf("/tmp/penstock-%d", os.Geteuid())
	}
}

// umask belongs to the process: one at a time may change it, and give it back.
var umask sync.Mutex

// listenSocket makes the socket at path, which only its owner can open, in the place of one that nobody answers at.
func listenSocket(path string) (net.Listener, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the control socket's directory: %w", err)
	}
	if filepath.Base(path) != socketName {
		if err := checkOwned(dir); err != nil {
			return nil, err
		}
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	umask.Lock()
	old := syscall.Umask(ownerOnly)
	l, err := net.Listen("unix", path)
	syscall.Umask(old)
	umask.Unlock()
	if err != nil {
		return nil, fmt.Errorf("listen on control socket %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close the control socket to others: %w", err), l.Close())
	}
	return l, nil
}

// checkOwned refuses a directory in a place where anyone may make one, unless it is ours alone.
func checkOwned(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("check the control socket's directory: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("control socket: %s belongs to someone else or is open to others; remove it, or use a data_dir with a shorter path", dir)
	}
	return nil
}

// removeStale removes what an agent that was killed left behind. Whoever listens has locked the
// data directory before, so that two do not race here.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at control socket: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("control socket: %s is there and is not a socket; move it away", path)
	}
	conn, err := net.DialTimeout("unix", path, dialTimeout)
	if err == nil {
		return errors.Join(fmt.Errorf("control socket %s: %w: another agent answers there", path, ErrInUse), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale control socket: %w", err)
	}
	return nil
}

func isInUse(err error) bool { return errors.Is(err, syscall.EADDRINUSE) }

// peerListener gives out connections of the agent's own user and of root, and closes those of others. The
// mode of the socket says the same; this holds where someone has changed it.
type peerListener struct {
	net.Listener
	log *slog.Logger
	// allowed says whether the peer may come in; a field, so that a test can be a stranger.
	allowed func(net.Conn) (bool, error)
}

func newPeerListener(l net.Listener, log *slog.Logger) *peerListener {
	return &peerListener{Listener: l, log: log, allowed: peerAllowed}
}

// Accept implements [net.Listener].
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err // as it came: net/http looks at its type
		}
		ok, err := l.allowed(conn)
		if ok {
			return conn, nil
		}
		l.log.Warn("turned a stranger away from the control socket", "err", err)
		if err := conn.Close(); err != nil {
			l.log.Debug("close a stranger's connection", "err", err)
		}
	}
}
