// SPDX-License-Identifier: Apache-2.0

package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/penstock-io/penstock/sdk"
	"github.com/penstock-io/penstock/spec/abi"
)

// fate is what an error of the server says of what it was asked.
type fate int

const (
	later fate = iota // the same may be taken later. So is what is not known
	wrong             // nothing is taken as things are configured, here or there
	row               // it is about what is in a row
)

// fates are those of SQLSTATEs, and what the user can do; the longest prefix counts. A class that is not here is later.
var fates = []struct {
	prefix string
	fate   fate
	hint   string
}{
	{"08", later, "the connection broke; it is tried again"},
	{"22", row, ""},
	{"23", row, ""},
	{"25006", later, "the server is read-only: a standby, or a primary that is being replaced; let host name the primary"},
	{"28", wrong, "see user and password, and what pg_hba.conf of the server lets in"},
	{"3D", wrong, "the database is not there: see database, or create it"},
	{"3F", wrong, "the schema is not there: create it, or name another"},
	{"40", later, "another transaction was in the way; it is tried again"},
	{"42501", wrong, "grant the role what it needs: see the list in the plugin's README"},
	{"42P01", wrong, "create the table, or write create = true"},
	{"42703", wrong, "add the column, or change columns"},
	{"42P10", wrong, "key must name exactly the columns of a primary key or of a unique index"},
	{"42", wrong, "see whether the table's columns and the config fit each other"},
	{"0A", wrong, "this server cannot do it: see its version, and what kind of table that is"},
	{"44", row, ""},
	{"53100", later, "the server's disk is full: make room there; it is tried again"},
	{"53300", later, "the server has no connection left: raise max_connections, or lower connections of the sink; it is tried again"},
	{"53", later, "the server lacks something; it is tried again"},
	{"54", row, ""},
	{"55P03", later, "another transaction holds a lock for longer than 10 s: pg_locks says which; it is tried again"},
	{"57014", later, "somebody ended the statement, or statement_timeout did; it is tried again"},
	{"57P04", wrong, "the database was dropped"},
	{"57", later, "the server stops, or starts; it is tried again"},
	{"P0001", row, ""}, // raised by a trigger
	{"P0004", row, ""},
}

// fateOf answers what becomes of what was asked, and a hint or "".
func fateOf(sqlstate string) (fate, string) {
	best, f, hint := 0, later, ""
	for _, c := range fates {
		if strings.HasPrefix(sqlstate, c.prefix) && len(c.prefix) > best {
			best, f, hint = len(c.prefix), c.fate, c.hint
		}
	}
	return f, hint
}

// rowError is what the server says of a row, before it is known which. Line is that of a COPY, from 1, or 0.
type rowError struct {
	line int
	err  *pgconn.PgError
}

func (e *rowError) Error() string { return said(e.err) }
func (e *rowError) Unwrap() error { return e.err }

// explain gives an error of a session its code and says what to do. nil stays nil.
func explain(doing string, err error) error {
	switch pg, ok := errors.AsType[*pgconn.PgError](err); {
	case err == nil:
		return nil
	case ok:
		return explainSQL(doing, pg)
	case errors.Is(err, context.DeadlineExceeded):
		return &sdk.Error{Code: abi.ETIMEOUT, Err: fmt.Errorf("%s: the server took too long\nsee what it waits for (pg_stat_activity), or raise timeout; it is tried again", doing)}
	}
	return &sdk.Error{Code: abi.EIO, Err: fmt.Errorf("%s: the connection broke: %w\nit is tried again", doing, err)}
}

func explainSQL(doing string, pg *pgconn.PgError) error {
	f, hint := fateOf(pg.Code)
	text := fmt.Errorf("%s: %s", doing, said(pg))
	if hint != "" {
		text = fmt.Errorf("%w\n%s", text, hint)
	}
	switch f {
	case row:
		return fmt.Errorf("%s: %w", doing, &rowError{copyLine(pg.Where), pg})
	case wrong:
		return &sdk.Error{Code: abi.EINVAL, Err: text}
	}
	return &sdk.Error{Code: abi.EAGAIN, Err: text}
}

// said is the server's message in one line. Its detail is left out: it has values of this row, and of others.
func said(pg *pgconn.PgError) string {
	s := fmt.Sprintf("the server says: %s (SQLSTATE %s)", pg.Message, pg.Code)
	switch {
	case pg.ColumnName != "":
		s += fmt.Sprintf(", column %q", pg.ColumnName)
	case copyColumn(pg.Where) != "":
		s += fmt.Sprintf(", column %q", copyColumn(pg.Where))
	}
	if pg.Hint != "" {
		s += "; its hint: " + pg.Hint
	}
	return strings.Join(strings.Fields(s), " ")
}

// copyLine finds the line in the context of an error of COPY, `COPY events, line 3, column n: "abc"`; 0: there is none.
func copyLine(where string) int {
	var n int
	if _, rest, ok := strings.Cut(where, ", line "); ok && strings.HasPrefix(where, "COPY ") {
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			return 0
		}
	}
	return n
}

func copyColumn(where string) string {
	if !strings.HasPrefix(where, "COPY ") {
		return ""
	}
	_, rest, ok := strings.Cut(where, ", column ")
	name, _, more := strings.Cut(rest, ":")
	if !ok || !more {
		return ""
	}
	return name
}

// explainConnect is explain of an attempt to connect. The password does not stand in it.
func (s server) explainConnect(err error) error {
	doing := "connect to " + s.String()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return explainSQL(doing, pg)
	}
	if agent, ok := errors.AsType[*sdk.Error](err); ok && agent.Code == abi.EACCES {
		return fmt.Errorf("%s: %w", doing, agent)
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return tlsError("%s: %w\nthe server's certificate is signed by nobody that this machine knows: name the signer's in tls_ca", doing, unknown)
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return tlsError("%s: %w\nthe server's certificate is not for that host, or not valid now: see host, and the certificate", doing, verify)
	}
	if strings.Contains(err.Error(), "refused TLS") {
		return tlsError("%s: the server takes no TLS\nset ssl = on in its postgresql.conf, or write tls = \"off\" where the network between may be trusted", doing)
	}
	return &sdk.Error{Code: abi.EIO, Err: fmt.Errorf("%s: %w\nsee whether the server runs and host and port are right; it is tried again", doing, innermost(err))}
}

// tlsError is of class config: what would have to change is a certificate or the config.
func tlsError(format string, args ...any) error {
	return &sdk.Error{Code: abi.EINVAL, Path: "tls", Err: fmt.Errorf(format, args...)}
}

// innermost leaves out what pgconn writes around the cause: all parameters but the password, over several lines.
func innermost(err error) error {
	if connect, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		err = connect.Unwrap()
	}
	for {
		joined, ok := err.(interface{ Unwrap() []error })
		if !ok || len(joined.Unwrap()) == 0 {
			return err
		}
		err = joined.Unwrap()[0]
	}
}
